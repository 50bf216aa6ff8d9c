"""The contract says what the code does: every public event is in it, with words, an example and its schema."""

from __future__ import annotations

import inspect
import re
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel

from schemas import events, previews, requests
from schemas.asyncapi.channels import CHANNELS
from schemas.asyncapi.codes import IN_DEAD_LETTERS, ON_RESULTS
from schemas.asyncapi.document import document, event_shapes
from schemas.asyncapi.examples import EXAMPLES
from schemas.envelope import Envelope
from schemas.signing import ALGORITHMS, IDEMPOTENCY_KEY, Signer
from schemas.topics import Topics
from tests.schemas.signed import private_key

DOCUMENT = document("1.2.3")
MESSAGES: dict[str, Any] = DOCUMENT["components"]["messages"]
INTERNAL = {"rerouted", "outcomes", "ledger", "control", "fleet", "jobs", "webhooks", "redeliveries"}


def validator(schema: dict[str, Any]) -> jsonschema.Draft7Validator:
    """References point into the document, as they do for those who read it."""
    return jsonschema.Draft7Validator({**schema, "components": DOCUMENT["components"]})


def test_every_public_event_is_on_a_channel() -> None:
    shapes = {
        vars(shape)["TYPE"]
        for module in (events, previews, requests)
        for _, shape in inspect.getmembers(module, inspect.isclass)
        if issubclass(shape, BaseModel) and "TYPE" in vars(shape)
    }
    assert shapes == set(MESSAGES)


def test_every_public_topic_is_a_channel_with_the_settings_that_it_gets() -> None:
    specs = Topics().specs(partitions=12, jobs_partitions=1, replication=1, pools=["p"], own_topics=["{tenant}"])
    public = {spec.name: spec for spec in specs if spec.name.split(".")[1] not in INTERNAL}
    channels = {channel["address"]: channel for channel in DOCUMENT["channels"].values()}
    assert channels.keys() == public.keys()
    for name, spec in public.items():
        told = channels[name]["bindings"]["kafka"]
        assert told["partitions"] == spec.partitions
        assert str(told["topicConfiguration"]["retention.ms"]) == spec.config["retention.ms"]


@pytest.mark.parametrize("name", MESSAGES)
def test_the_example_is_as_the_schemas_say(name: str) -> None:
    message = MESSAGES[name]
    for example in message["examples"]:
        validator(message["payload"]).validate(example["payload"])
        validator(message["headers"]).validate(example["headers"])
    if "pattern" in (key := message["bindings"]["kafka"]["key"]):
        assert re.fullmatch(key["pattern"], message["x-example-key"])


@pytest.mark.parametrize("name", MESSAGES)
def test_and_as_the_code_says(name: str) -> None:
    shape, example = event_shapes()[name], MESSAGES[name]["examples"][0]
    assert shape.model_validate_json(EXAMPLES[shape].model_dump_json()) == EXAMPLES[shape]
    if "ce_id" in example["headers"]:
        read = Envelope.read([(key, value.encode()) for key, value in example["headers"].items()], b"{}")
        assert read.type == name


@pytest.mark.parametrize("name", DOCUMENT["components"]["schemas"])
def test_every_field_has_a_word(name: str) -> None:
    schema = DOCUMENT["components"]["schemas"][name]
    assert schema["description"]
    silent = [field for field, content in schema.get("properties", {}).items() if not content.get("description")]
    assert silent == [], "give the field a docstring"


def test_a_request_that_the_schema_refuses_is_refused_and_the_other_way_round() -> None:
    check = validator(MESSAGES["easel.generation.requested.v1"]["payload"])
    right: dict[str, Any] = {"prompt": "x", "model": "m"}
    changes: list[dict[str, Any]] = [
        {},
        {"prompt": ""},
        {"images": 11},
        {"images": 1.5},
        {"seed": 2**53},
        {"format": "gif"},
        {"steps": 0},
        {"strength": 0},
        {"metadata": {"a": 1}},
        {"metadata": {"": "a"}},
        {"adapters": [{"name": "a", "scale": 5}]},
        {"unknown": 1},
        {"guidance": None},
        {"priority": "high"},
    ]
    for change in changes:
        try:
            requests.GenerationRequest.model_validate({**right, **change})
        except ValueError:
            taken = False
        else:
            taken = True
        assert check.is_valid({**right, **change}) == taken, change


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_the_sdk_sends_is_as_the_contract_says(algorithm: Any) -> None:
    import jwt

    body = EXAMPLES[requests.GenerationRequest].model_dump_json(exclude_unset=True).encode()
    token = Signer("acme-1", algorithm, private_key(algorithm), "acme", "easel").sign(
        tenant="acme",
        event_type=requests.GenerationRequest.TYPE,
        event_id="019aa4d2-6c00-7000-8000-000000000001",
        body=body,
        now_s=1_763_712_000,
        idempotency_key="order-7",
    )
    sent = Envelope(
        id="019aa4d2-6c00-7000-8000-000000000001",
        type=requests.GenerationRequest.TYPE,
        source="cms",
        data=body,
        signature=token,
        extensions={IDEMPOTENCY_KEY: "order-7"},
    )
    headers = {name: value.decode() for name, value in sent.headers()}
    validator(MESSAGES[requests.GenerationRequest.TYPE]["headers"]).validate(headers)
    claims = jwt.decode(token, options={"verify_signature": False})
    validator({"$ref": "#/components/schemas/SignatureClaims"}).validate(claims)
    told = DOCUMENT["operations"]["takeRequests"]["x-signature"]
    assert jwt.get_unverified_header(token) == {"typ": told["typ"], "alg": algorithm, "kid": "acme-1"}


def test_the_codes_say_what_to_do() -> None:
    assert all(ON_RESULTS.values()) and all(IN_DEAD_LETTERS.values())


def test_what_ends_a_request_says_so() -> None:
    assert {name for name, message in MESSAGES.items() if message.get("x-terminal")} == events.TERMINAL


def test_each_channel_promises_something() -> None:
    assert all(channel.guarantees for channel in CHANNELS)
