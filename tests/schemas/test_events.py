"""The names and shapes on the wire: public, so that none changes unnoticed."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from schemas import events, jobs, previews
from schemas.errors import Code, EaselError, ErrorBody, ErrorShape, ErrorType
from schemas.requests import GenerationRequest

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "golden_events.json").read_text())
SHAPES: dict[str, type[BaseModel]] = {
    vars(shape)["TYPE"]: shape
    for module in (events, jobs, previews)
    for _, shape in inspect.getmembers(module, inspect.isclass)
    if issubclass(shape, BaseModel) and "TYPE" in vars(shape)
}


def test_every_event_has_its_golden_form() -> None:
    assert set(SHAPES) == set(GOLDEN)


@pytest.mark.parametrize("event_type", sorted(GOLDEN))
def test_it_is_read_and_written_in_that_form(event_type: str) -> None:
    written = SHAPES[event_type].model_validate_json(json.dumps(GOLDEN[event_type])).model_dump_json()
    assert json.loads(written) == GOLDEN[event_type]


@pytest.mark.parametrize("event_type", sorted(GOLDEN))
def test_a_field_that_was_added_since_is_passed_over(event_type: str) -> None:
    shape, golden = SHAPES[event_type], GOLDEN[event_type]
    assert shape.model_validate({**golden, "added_later": {"x": 1}}) == shape.model_validate(golden)


@pytest.mark.parametrize("event_type", sorted(GOLDEN))
def test_no_required_field_may_be_missing(event_type: str) -> None:
    shape, golden = SHAPES[event_type], GOLDEN[event_type]
    for name, info in shape.model_fields.items():
        without = {field: value for field, value in golden.items() if field != name}
        if info.is_required():
            with pytest.raises(ValueError, match=name):
                shape.model_validate(without)
        else:
            shape.model_validate(without)


def test_the_request_is_strict_where_readers_are_not() -> None:
    with pytest.raises(ValueError, match="added_later"):
        GenerationRequest.model_validate({"prompt": "x", "model": "m", "added_later": 1})


def test_a_type_ends_in_its_version() -> None:
    assert all(name.startswith("easel.") and name.endswith(".v1") for name in [*SHAPES, GenerationRequest.TYPE])


def test_what_ends_a_request() -> None:
    assert {
        "easel.generation.succeeded.v1",
        "easel.generation.failed.v1",
        "easel.generation.canceled.v1",
    } == events.TERMINAL


def test_an_event_cant_be_changed() -> None:
    event = events.GenerationStep.model_validate(GOLDEN["easel.generation.step.v1"])
    with pytest.raises(ValueError, match="frozen"):
        event.step = 7  # type: ignore[misc]


# Public and for ever: codes are only added.
CODES = frozenset(
    """
    envelope_invalid record_too_large signature_missing signature_malformed signature_invalid key_unknown
    algorithm_mismatch claims_invalid body_mismatch token_expired token_not_yet_valid token_lifetime tenant_not_allowed
    invalid_request unsupported_type id_invalid id_out_of_time id_conflict tenant_suspended model_not_found
    model_not_allowed limit_exceeded rate_limited budget_day_exceeded budget_month_exceeded queue_full
    generation_failed model_unavailable out_of_memory engine_lost store_failed deadline_exceeded
    api_key_invalid not_found service_unavailable internal_error
    """.split()  # noqa: SIM905 - forty lines otherwise
)


def test_no_code_is_ever_taken_back() -> None:
    assert set(Code) >= CODES


def test_the_one_error_shape() -> None:
    error = EaselError(Code.QUEUE_FULL, "the queue is full", param="tenant", type=ErrorType.RATE_LIMIT)
    assert json.loads(ErrorShape(error=error.body()).model_dump_json()) == {
        "error": {"message": "the queue is full", "type": "rate_limit_error", "param": "tenant", "code": "queue_full"}
    }


def test_a_code_that_was_added_since_is_read_as_it_is() -> None:
    body = {"message": "m", "type": "a_new_kind", "param": None, "code": "a_new_code"}
    assert ErrorBody.model_validate(body).model_dump(mode="json") == body


def test_a_known_code_is_read_as_the_code() -> None:
    body = ErrorBody.model_validate({"message": "m", "type": "server_error", "code": "engine_lost"})
    assert body.code is Code.ENGINE_LOST
    assert body.type is ErrorType.SERVER
