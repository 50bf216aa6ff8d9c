"""What may be posted, and the requests that it means."""

from __future__ import annotations

import json
from typing import Any

import pytest

from producer_api.body import MAX_PROMPTS, GenerateBody, read_body
from schemas.errors import EaselError
from schemas.requests import GenerationRequest, RequestFields


def read(**fields: Any) -> GenerateBody:
    return read_body(json.dumps({"model": "m", **fields}).encode())


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompts": []}, "prompts"),
        ({"prompts": ["x"] * (MAX_PROMPTS + 1)}, "prompts"),
        ({"prompts": ["x", ""]}, "prompts.1"),
        ({"prompts": ["x"], "prompt": "x"}, "prompt"),
        ({}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompts": ["x"], "dry_run": True}, "prompt"),
        ({"prompt": "x", "response_format": "gif"}, "response_format"),
        ({"prompt": "x", "group": "a b"}, "group"),
        ({"prompt": "x", "promts": ["y"]}, "promts"),
    ],
)
def test_a_body_that_cannot_be_right_names_its_field(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(EaselError) as refused:
        read(**fields)
    assert refused.value.param == param


def test_a_request_has_what_was_said_and_nothing_of_http() -> None:
    said = {"prompt": "x", "seed": 7, "adapters": [{"name": "ink"}], "deadline": "2026-11-21T08:00:00Z"}
    request = read(**said, response_format="b64_json").to_request()
    assert request == GenerationRequest.model_validate_json(json.dumps({"model": "m", **said}))
    assert request.model_fields_set == {"model", *said}


def test_each_of_several_prompts_is_a_request() -> None:
    body = read(prompts=["a", " b "], steps=4)
    assert body.prompts is not None
    requests = [body.to_request(prompt) for prompt in body.prompts]
    assert [(request.prompt, request.steps) for request in requests] == [("a", 4), ("b", 4)]


def test_every_field_of_a_request_may_be_posted() -> None:
    assert GenerationRequest.model_fields.keys() == RequestFields.model_fields.keys()
    assert GenerationRequest.model_fields.keys() < GenerateBody.model_fields.keys()
