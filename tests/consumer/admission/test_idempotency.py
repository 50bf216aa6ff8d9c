"""The same idempotency key is the same request, whatever its id."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from consumer.admission.keys import RequestKey
from consumer.admission.known_by import KnownBy
from tests.consumer.admission.world import (
    World,
    failed,
    kinds,
    neighbours,
    request_id,
    rules,
    succeeded,
    tenant,
)

ONE, TWO = request_id(1), request_id(2)


@pytest.fixture
def world() -> World:
    return World(rules(tenant()))


def answers(said: list[dict[str, Any]]) -> list[tuple[str, str | None, str | None, str | None]]:
    return [
        (m["request_id"], m["kind"].removeprefix("generation."), m.get("of"), (m.get("error") or {}).get("code"))
        for m in said
        if m["sent_to"] == "results"
    ]


def test_another_id_under_the_same_key_is_a_duplicate_of_the_first(world: World) -> None:
    world.take(world.request(1, idempotency_key="order-7"))
    said = world.take(world.request(2, idempotency_key="order-7"))
    assert answers(said) == [(TWO, "duplicate", ONE, None)]
    assert said[0]["state"] == "dispatched"
    world.take(world.outcome(succeeded(ONE)))
    (said_later,) = world.take(world.request(3, idempotency_key="order-7"))
    assert (said_later["of"], said_later["state"]) == (ONE, "succeeded")
    assert world.state.account("acme").days["2026-11-21"].held == 1000


def test_another_body_under_the_same_key_is_a_conflict(world: World) -> None:
    world.take(world.request(1, idempotency_key="order-7"))
    said = world.take(world.request(2, idempotency_key="order-7", prompt="a blue square"))
    assert answers(said) == [(TWO, "duplicate", ONE, "idempotency_conflict")]
    assert said[0]["error"]["param"] == "ce_idempotencykey"


def test_the_id_comes_first(world: World) -> None:
    world.take(world.request(1, idempotency_key="order-7"), world.request(2, idempotency_key="order-8"))
    said = world.take(world.request(2, idempotency_key="order-7"), world.request(2, prompt="a blue square"))
    assert answers(said) == [(TWO, "duplicate", None, None), (TWO, "duplicate", None, "id_conflict")]


def test_a_key_is_its_tenants_own() -> None:
    one, two = neighbours(2)
    world = World(rules(tenant(one), tenant(two)))
    said = world.take(
        world.request(1, who=one, idempotency_key="order-7"), world.request(2, who=two, idempotency_key="order-7")
    )
    assert [m["kind"] for m in said if m["sent_to"] == "results"] == ["generation.accepted"] * 2


def test_a_rejected_request_binds_no_key() -> None:
    world = World(rules(tenant(units_per_day=Decimal(1))))
    said = world.take(
        world.request(1, idempotency_key="order-7", images=2), world.request(2, idempotency_key="order-7")
    )
    assert [a[1] for a in answers(said)] == ["rejected", "accepted"]


def test_a_key_is_known_as_long_as_its_request(world: World) -> None:
    world.take(world.request(1, idempotency_key="order-7"))
    world.take(world.outcome(failed(ONE)))
    end = world.now_ms + 72 * 3_600_000
    world.now_ms = end - 1
    world.take()
    assert answers(world.take(world.request(2, idempotency_key="order-7")))[0][1] == "duplicate"
    world.now_ms = end
    world.take()
    assert answers(world.take(world.request(3, idempotency_key="order-7")))[0][1] == "accepted"


def test_a_name_that_is_let_go_takes_no_room() -> None:
    known, key = KnownBy(), RequestKey("acme", ONE)
    known.change(key, None, "order-7")
    assert known.get("acme", "order-7") == key
    known.change(key, "order-7", None)
    assert known.get("acme", "order-7") is None


@pytest.mark.parametrize("ended", [False, True])
def test_a_key_is_known_after_a_restart(world: World, ended: bool) -> None:
    world.take(world.request(1, idempotency_key="order-7"))
    if ended:
        world.take(world.outcome(succeeded(ONE)))
    before = world.state
    world.restart()
    assert world.state.requests == before.requests
    assert answers(world.take(world.request(2, idempotency_key="order-7"))) == [(TWO, "duplicate", ONE, None)]


@pytest.mark.parametrize("key", ["", " ", "two words", "naïve", "x" * 256])
def test_a_key_that_is_none_is_refused_by_name(world: World, key: str) -> None:
    (said,) = world.take(world.request(1, idempotency_key=key))
    assert (said["kind"], said["error"]["code"], said["error"]["param"]) == (
        "generation.rejected",
        "invalid_request",
        "ce_idempotencykey",
    )


@pytest.mark.parametrize("key", ["!", "~", "x" * 255])
def test_any_visible_ascii_will_do(world: World, key: str) -> None:
    assert "generation.accepted" in kinds(world.take(world.request(1, idempotency_key=key)))


def test_a_key_that_nobody_signed_is_a_dead_letter(world: World) -> None:
    record = world.request(1)
    forged = replace(record, headers=(*record.headers, ("ce_idempotencykey", b"order-7")))
    (said,) = world.take(forged)
    assert (said["sent_to"], said["cause"]["code"]) == ("dead-letters", "claims_invalid")
