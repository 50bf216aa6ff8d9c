"""Each rule of compatibility, both ways: what breaks somebody is found, what is only added is not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from schemas.asyncapi.changes import breaking
from schemas.asyncapi.document import document

WHOLE = document("1.2.3")
REQUEST, ACCEPTED = "easel.generation.requested.v1", "easel.generation.accepted.v1"
Edit = Callable[[dict[str, Any]], Any]


def shape(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda whole: whole["components"]["schemas"][name]


request, accepted, output = shape("GenerationRequest"), shape("Accepted"), shape("Output")


def header(whole: dict[str, Any], message: str) -> dict[str, Any]:
    found: dict[str, Any] = whole["components"]["messages"][message]["headers"]
    return found


def require(schema: dict[str, Any], name: str) -> object:
    return schema["required"].append(name)


def optional(schema: dict[str, Any], name: str) -> object:
    return schema["required"].remove(name)


def signature(whole: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = whole["operations"]["takeRequests"]["x-signature"]
    return found


def with_(schema: dict[str, Any], name: str, field: dict[str, Any]) -> object:
    return schema["properties"].update({name: field})


STRING = {"type": "string"}
BREAKS: dict[str, Edit] = {
    "a channel is gone": lambda w: w["channels"].pop("usage"),
    "a channel has another address": lambda w: w["channels"]["usage"].update(address="easel.units"),
    "an event is on its channel no more": lambda w: w["channels"]["results"]["messages"].pop(ACCEPTED),
    "an event is gone": lambda w: w["components"]["messages"].pop(ACCEPTED),
    "results are kept shorter": lambda w: w["channels"]["results"]["bindings"]["kafka"]["topicConfiguration"].update(
        {"retention.ms": 1}
    ),
    "larger requests are not taken": lambda w: w["channels"]["requests"]["bindings"]["kafka"][
        "topicConfiguration"
    ].update({"max.message.bytes": 1}),
    "a channel runs the other way": lambda w: w["operations"]["takeRequests"].update(action="send"),
    "another key": lambda w: w["components"]["messages"][ACCEPTED]["bindings"]["kafka"]["key"].update(pattern="^x$"),
    "a request has a new required field": lambda w: (
        with_(request(w), "purpose", STRING),
        require(request(w), "purpose"),
    ),
    "a field of a request becomes required": lambda w: require(request(w), "seed"),
    "a field of a request is gone": lambda w: request(w)["properties"].pop("seed"),
    "a field of a request is of another type": lambda w: request(w)["properties"].update(images=STRING),
    "a field of a request can't be null": lambda w: request(w)["properties"].update(seed={"type": "integer"}),
    "a smaller maximum": lambda w: request(w)["properties"]["images"].update(maximum=4),
    "a larger minimum": lambda w: request(w)["properties"]["images"].update(minimum=2),
    "a shorter prompt": lambda w: request(w)["properties"]["prompt"].update(maxLength=10),
    "a new limit": lambda w: request(w)["properties"]["images"].update(exclusiveMaximum=4),
    "another pattern": lambda w: request(w)["properties"]["model"].update(pattern="^x$"),
    "a format is taken no more": lambda w: request(w)["properties"]["format"].update(enum=["png", "jpeg"]),
    "a request has a new required header": lambda w: (
        with_(header(w, REQUEST), "ce_purpose", STRING),
        require(header(w, REQUEST), "ce_purpose"),
    ),
    "an algorithm is taken no more": lambda w: signature(w)["algorithms"].remove("RS256"),
    "the signature is elsewhere": lambda w: signature(w).update(header="ce_proof"),
    "another typ": lambda w: signature(w).update(typ="jwt"),
    "one more claim is required": lambda w: require(shape("SignatureClaims")(w), "idempotencykey"),
    "a field of an event is gone": lambda w: accepted(w)["properties"].pop("position"),
    "a field of a part of an event is gone": lambda w: output(w)["properties"].pop("sha256"),
    "a field of an event need not be there": lambda w: optional(accepted(w), "seed"),
    "a field of an event can be null": lambda w: accepted(w)["properties"].update(
        seed={"anyOf": [{"type": "integer"}, {"type": "null"}]}
    ),
    "a field of an event is of another type": lambda w: accepted(w)["properties"].update(seed=STRING),
    "an integer becomes any number": lambda w: accepted(w)["properties"].update(position={"type": "number"}),
    "an enumeration of an event grows": lambda w: shape("DeadLetter")(w)["properties"]["stage"]["enum"].append("x"),
    "a header of an event is gone": lambda w: header(w, ACCEPTED)["properties"].pop("ce_subject"),
    "a header of an event need not be there": lambda w: optional(header(w, ACCEPTED), "ce_subject"),
    "an event's type has another name": lambda w: header(w, ACCEPTED)["properties"]["ce_type"].update(const="x"),
    "an error code is gone": lambda w: w["x-error-codes"]["results"].pop("queue_full"),
    "a code of dead letters is gone": lambda w: w["x-error-codes"]["deadLetters"].pop("key_unknown"),
    "another header names the request": lambda w: w["components"]["messages"][ACCEPTED]["correlationId"].update(
        location="$message.header#/ce_id"
    ),
    "it ends a request no more": lambda w: w["components"]["messages"]["easel.generation.failed.v1"].pop("x-terminal"),
}

ADDS: dict[str, Edit] = {
    "nothing": lambda w: None,
    "a channel": lambda w: w["channels"].update(more={**w["channels"]["usage"], "address": "easel.more"}),
    "an event": lambda w: (
        w["components"]["messages"].update({"easel.x.v1": w["components"]["messages"][ACCEPTED]}),
        w["channels"]["results"]["messages"].update({"easel.x.v1": {}}),
    ),
    "a field of a request": lambda w: with_(request(w), "purpose", STRING),
    "a field of an event, always there": lambda w: (
        with_(accepted(w), "queue", STRING),
        require(accepted(w), "queue"),
    ),
    "a field of a part of an event": lambda w: with_(output(w), "quality", STRING),
    "a field of an event that is always there now": lambda w: require(shape("Succeeded")(w), "cached"),
    "a field of a request that need not be there now": lambda w: optional(request(w), "model"),
    "a larger maximum": lambda w: request(w)["properties"]["images"].update(maximum=20),
    "no maximum": lambda w: request(w)["properties"]["images"].pop("maximum"),
    "a smaller minimum": lambda w: request(w)["properties"]["width"]["anyOf"][0].update(minimum=8),
    "one more format": lambda w: request(w)["properties"]["format"]["enum"].append("avif"),
    "a field of a request may be null": lambda w: request(w)["properties"].update(
        images={
            "anyOf": [{**w["components"]["schemas"]["GenerationRequest"]["properties"]["images"]}, {"type": "null"}]
        }
    ),
    "an integer of a request may be any number": lambda w: request(w)["properties"]["images"].update(type="number"),
    "fewer values in an event": lambda w: shape("DeadLetter")(w)["properties"]["stage"].update(enum=["admission"]),
    "an error code": lambda w: (
        w["x-error-codes"]["results"].update(new_code="-"),
        shape("Code")(w)["enum"].append("new_code"),
    ),
    "a kind of error": lambda w: shape("ErrorType")(w)["enum"].append("new_error"),
    "an algorithm": lambda w: signature(w)["algorithms"].append("ES384"),
    "a header that need not be there": lambda w: with_(header(w, REQUEST), "ce_purpose", STRING),
    "a header of an event": lambda w: with_(header(w, ACCEPTED), "ce_purpose", STRING),
    "other words": lambda w: accepted(w).update(description="-"),
    "results are kept longer": lambda w: w["channels"]["results"]["bindings"]["kafka"]["topicConfiguration"].update(
        {"retention.ms": 10**12}
    ),
}


def edited(edit: Edit) -> dict[str, Any]:
    whole = copy.deepcopy(WHOLE)
    edit(whole)
    return whole


@pytest.mark.parametrize("name", BREAKS)
def test_it_breaks(name: str) -> None:
    found = breaking(WHOLE, edited(BREAKS[name]))
    assert found
    assert all(change.where and change.what for change in found)


@pytest.mark.parametrize("name", ADDS)
def test_it_adds(name: str) -> None:
    assert breaking(WHOLE, edited(ADDS[name])) == []


def test_it_says_what_and_where() -> None:
    [change] = breaking(WHOLE, edited(BREAKS["a field of an event is gone"]))
    assert str(change) == f"{ACCEPTED}: the field position is gone"


def test_a_change_of_a_part_is_told_for_each_event_that_has_it() -> None:
    found = breaking(WHOLE, edited(lambda whole: shape("Balance")(whole)["properties"].pop("held")))
    assert {change.where for change in found} == {f"easel.usage.{kind}.v1" for kind in ("held", "settled", "refunded")}
