"""What no tenant stands behind, and what the decision itself fails on."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from msgspec.structs import replace

from consumer.admission import intake, quota
from tests.consumer.admission.world import (
    NOON_MS,
    TOPICS,
    WHAT_A_TENANT_WROTE,
    World,
    broken,
    kinds,
    request_id,
    rules,
    tenant,
)

ONE = request_id(1)


@pytest.fixture
def world() -> World:
    return World(rules(tenant()))


def test_a_time_header_counts_on_the_rerouted_topic_alone(world: World) -> None:
    late = World(rules(tenant()), now_ms=NOON_MS + 7_200_000)
    record = late.request(1, at_ms=NOON_MS)
    forged = replace(record, headers=(*record.headers, (intake.APPENDED_HEADER, str(NOON_MS).encode())))
    (said,) = late.take(forged)
    assert (said["sent_to"], said["cause"]["code"]) == ("dead-letters", "token_expired")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"value": b"{}"}, "body_mismatch"),
        ({"value": None}, "envelope_invalid"),
        ({"headers": ()}, "envelope_invalid"),
        ({"timestamp_ms": NOON_MS + 3_600_000}, "token_expired"),
    ],
)
def test_what_no_tenant_stands_behind_is_a_dead_letter(world: World, change: dict[str, Any], code: str) -> None:
    record = replace(world.request(1), key=b"acme", **change)
    (said,) = world.take(record)
    assert (said["sent_to"], said["cause"]["code"]) == ("dead-letters", code)
    assert (said["topic"], said["offset"], said["stage"]) == (TOPICS.requests, 0, "admission")
    assert world.state.requests == {}


def test_a_malformed_id_is_a_dead_letter(world: World) -> None:
    (said,) = world.take(world.request(1, event_id="not-a-uuid"))
    assert said["cause"]["code"] == "id_invalid"


def test_a_dead_letter_holds_the_record_whole(world: World) -> None:
    record = replace(world.request(1), value=b"\x00\xff" * 1000)
    (said,) = world.take(record)
    assert base64.b64decode(said["value_base64"]) == record.value
    assert tuple((name, base64.b64decode(value)) for name, value in said["headers"]) == record.headers
    assert said["truncated"] is False
    huge = replace(world.request(2), value=b"x" * (1024 * 1024 + 1))
    (said,) = world.take(huge)
    assert (said["truncated"], len(base64.b64decode(said["value_base64"])), said["value_bytes"]) == (
        True,
        4096,
        1024 * 1024 + 1,
    )


def test_an_exception_is_the_records_own(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole or not at all: nothing of it is kept, its tenant is told, and the rest of the batch goes on."""
    monkeypatch.setattr(quota, "periods_of", broken)
    said = world.take(world.request(1))
    monkeypatch.undo()
    assert kinds(said) == ["", "generation.rejected"]
    assert said[1]["error"]["code"] == "internal_error"
    assert (world.state.requests, world.state.accounts, world.state.queued) == ({}, {}, 0)
    assert [blamed.tenant for blamed in world.batches[-1].blamed] == ["acme"]
    assert WHAT_A_TENANT_WROTE not in str(said)
    where = world.batches[-1].blamed[0].where
    assert "broken" in where
    assert WHAT_A_TENANT_WROTE not in where
    assert "generation.accepted" in kinds(world.take(world.request(1)))
