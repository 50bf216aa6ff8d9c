"""What a ledger holds is read back whole, by this release also what an earlier one wrote."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from consumer.admission.ledger import Restored, request_record
from consumer.admission.state import EndedRequest, OpenRequest, PartitionState, RequestKey, Start
from tests.consumer.admission.world import (
    NOON_MS,
    TOPICS,
    World,
    failed,
    kinds,
    request_id,
    rules,
    started,
    succeeded,
    tenant,
)
from transport.records import Record

ONE = request_id(1)
KEY = RequestKey("acme", ONE)

# As easel 0.1.0 wrote them, on 2026-11-21.
PARAMETERS: dict[str, Any] = {
    "model": "m",
    "prompt": "a red circle",
    "negative_prompt": None,
    "images": 1,
    "width": 512,
    "height": 512,
    "steps": 4,
    "guidance": 0.0,
    "seed": 7,
    "adapters": [],
    "source_image": None,
    "strength": None,
    "mask_image": None,
    "format": "png",
    "quality": 95,
    "priority": "normal",
    "deadline": None,
}
OPEN: dict[str, Any] = {
    "state": "running",
    "body": "0" * 64,
    "sequence": 1,
    "accepted_ms": NOON_MS,
    "cost": 1000,
    "work": 1000,
    "day": "2026-11-21",
    "month": "2026-11",
    "pool": "default",
    "parameters": PARAMETERS,
    "metadata": {"post": "4711"},
    "traceparent": None,
    "attempt": 2,
    "starts": 1,
    "dispatched_ms": NOON_MS,
    "retry_at_ms": None,
}
PERIOD = {"held": 1000, "settled": 0, "refunded": 0}
ACCOUNT: dict[str, Any] = {
    "bucket": {"level": 60_000, "at_ms": NOON_MS},
    "days": {"2026-11-21": PERIOD},
    "months": {"2026-11": PERIOD},
    "turn": 1_000_000_000,
}
OFFSETS: dict[str, Any] = {
    "next": {"requests": 1, "rerouted": 0, "outcomes": 1},
    "sequence": 1,
    "clock_ms": NOON_MS,
    "turn": 0,
    "tenants_version": 1,
}
INIT: dict[str, Any] = {
    "format": 1,
    "cluster_id": "MkU3OEVBNTcwNTJENDM2Qk",
    "installation": "easel",
    "partitions": 4,
    "start": {"requests": 0, "rerouted": 0, "outcomes": 0},
}


def restored(**records: dict[str, Any]) -> PartitionState:
    reading = Restored()
    reading.read(
        Record(TOPICS.ledger, 0, offset, NOON_MS, key.encode(), json.dumps(value).encode(), ())
        for offset, (key, value) in enumerate(records.items())
    )
    reading.finish()
    return reading.state


def old_ledger(**changes: Any) -> PartitionState:
    return restored(
        **{
            "__init": INIT,
            "__offsets": OFFSETS,
            "account/acme": ACCOUNT,
            f"request/acme/{ONE}": {**OPEN, **changes},
        }
    )


def test_an_open_request_of_the_first_release_goes_on() -> None:
    world = World(rules(tenant()), state=old_ledger())
    request = world.state.requests[KEY]
    assert isinstance(request, OpenRequest)
    assert (request.attempt, request.failures, request.starts) == (2, 1, (Start("", 2, False),))
    assert (request.alone, request.cancel_requested) == (False, False)
    # One failure more, and the next is its last.
    world._ends = {TOPICS.requests: 1, TOPICS.outcomes: 1}
    assert kinds(world.take(world.outcome(failed(ONE, attempt=2, retryable=True)))) == []
    world.now_ms += 4_000
    (job,) = world.take()
    assert job["attempt"] == 3
    said = world.take(world.outcome(failed(ONE, attempt=3, retryable=True)))
    assert said[0]["kind"] == "generation.failed"
    assert world.state.account("acme").days["2026-11-21"].outstanding == 0


@pytest.mark.parametrize(
    ("state", "attempt", "failures"), [("queued", 0, 0), ("queued", 2, 2), ("dispatched", 1, 0), ("running", 3, 2)]
)
def test_failures_are_told_from_what_the_first_release_counted(state: str, attempt: int, failures: int) -> None:
    request = old_ledger(state=state, attempt=attempt, starts=0).requests[KEY]
    assert isinstance(request, OpenRequest)
    assert request.failures == failures


def test_an_ended_request_of_the_first_release_is_a_duplicate() -> None:
    ended = {"state": "succeeded", "body": "0" * 64, "ended_ms": NOON_MS, "forget_ms": NOON_MS + 259_200_000}
    state = restored(**{"__init": INIT, "__offsets": OFFSETS, f"request/acme/{ONE}": ended})
    assert state.requests[KEY] == EndedRequest(KEY, "succeeded", "0" * 64, NOON_MS, NOON_MS + 259_200_000)


def test_the_first_release_could_read_what_is_written_now() -> None:
    """Old and new instances run side by side while an installation is upgraded: none of its fields is missing."""
    world = World(rules(tenant()))
    world.take(world.request(1), world.outcome(started(ONE, worker="a")), world.outcome(started(ONE, worker="b")))
    content = {key: json.loads(value) for key, value in world.ledger.items() if value is not None}
    assert OPEN.keys() <= content[f"request/acme/{ONE}".encode()].keys()
    assert content[f"request/acme/{ONE}".encode()]["starts"] == 2
    assert ACCOUNT.keys() <= content[b"account/acme"].keys()
    assert OFFSETS.keys() <= content[b"__offsets"].keys()
    world.take(world.outcome(succeeded(ONE)))
    ended = json.loads(world.ledger[f"request/acme/{ONE}".encode()] or b"")
    assert {"state", "body", "ended_ms", "forget_ms"} <= ended.keys()


def test_every_field_of_an_open_request_comes_back() -> None:
    world = World(rules(tenant()))
    world.take(world.request(1, metadata={"post": "4711"}, seed=3))
    request = world.state.requests[KEY]
    assert isinstance(request, OpenRequest)
    told = replace(
        request,
        state="running",
        attempt=4,
        failures=2,
        starts=(Start("a", 3, True), Start("b", 4, False)),
        alone=True,
        cancel_requested=True,
        retry_at_ms=7,
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    )
    record = request_record(TOPICS.ledger, 0, KEY, told)
    reading = Restored()
    reading.read([Record(TOPICS.ledger, 0, 0, 0, record.key, record.value, ())])
    reading.finish()
    assert reading.state.requests == {KEY: told}
