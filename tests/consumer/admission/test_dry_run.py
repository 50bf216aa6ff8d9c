"""A dry run says what a real request would meet at this moment, and leaves everything as it was."""

from __future__ import annotations

from copy import deepcopy
from decimal import Decimal
from typing import Any

import pytest

from tests.consumer.admission.world import World, kinds, request_id, rules, succeeded, tenant

ONE = request_id(1)


def test_it_tells_the_price_and_the_place_in_the_line() -> None:
    world = World(rules(tenant(), window=1))
    world.take(*(world.request(number) for number in range(1, 4)))
    (said,) = world.take(world.request(4, images=3, dry_run=True))
    assert {name: said[name] for name in ("kind", "model", "cost_milliunits", "acceptable", "cached", "position")} == {
        "kind": "generation.priced",
        "model": "m",
        "cost_milliunits": 3000,
        "acceptable": True,
        "cached": False,
        "position": 2,
    }
    assert (said["error"], said["limit"], said["retry_after_s"]) == (None, None, None)


def test_the_price_is_the_tenants() -> None:
    who = tenant().model_copy(update={"price_factor": Decimal("0.5")})
    world = World(rules(who))
    priced, accepted, *_ = world.take(world.request(1, dry_run=True), world.request(2))
    assert priced["cost_milliunits"] == accepted["cost_milliunits"] == 500


def test_it_binds_and_holds_nothing_and_takes_no_token() -> None:
    world = World(rules(tenant(requests_per_minute=60, burst=1)))
    before = deepcopy((world.state.accounts, world.state.requests))
    said = world.take(*(world.request(1, dry_run=True, idempotency_key="order-7") for _ in range(3)))
    assert kinds(said) == ["generation.priced"] * 3
    assert all(m["acceptable"] for m in said)
    assert (world.state.accounts, world.state.requests) == before
    # The id, the key and the token are all still to be had.
    assert "generation.accepted" in kinds(world.take(world.request(1, idempotency_key="order-7")))


@pytest.mark.parametrize(
    ("who", "fields", "before"),
    [
        (tenant(status="suspended"), {}, 0),
        (tenant(models=["other"]), {}, 0),
        (tenant(images=2), {"images": 3}, 0),
        (tenant(), {"deadline": "2026-11-21T11:00:00Z"}, 0),
        (tenant(requests_per_minute=60, burst=1), {}, 1),
        (tenant(units_per_day=Decimal("1.5")), {}, 1),
        (tenant(units_per_month=Decimal("1.5")), {}, 1),
        (tenant(units_per_day=Decimal("0.5")), {}, 0),
        (tenant(queued=1), {}, 3),
    ],
)
def test_it_is_refused_by_what_would_refuse_a_real_one(who: Any, fields: dict[str, Any], before: int) -> None:
    world = World(rules(who, window=1))
    world.take(*(world.request(number) for number in range(1, before + 1)))
    (priced,) = world.take(world.request(8, dry_run=True, **fields))
    (rejected,) = world.take(world.request(9, **fields))
    assert (priced["kind"], rejected["kind"]) == ("generation.priced", "generation.rejected")
    assert priced["acceptable"] is False
    assert priced["cost_milliunits"] == 1000 * fields.get("images", 1)
    assert [priced[name] for name in ("error", "limit", "retry_after_s")] == [
        rejected[name] for name in ("error", "limit", "retry_after_s")
    ]


@pytest.mark.parametrize("fields", [{"model": "none"}, {"width": 65}, {"images": 11}, {"colour": "red"}])
def test_what_has_no_price_is_rejected(fields: dict[str, Any]) -> None:
    world = World(rules(tenant()))
    (said,) = world.take(world.request(1, dry_run=True, **fields))
    assert said["kind"] == "generation.rejected"


def test_a_bound_id_is_a_conflict_as_for_any_other_body() -> None:
    world = World(rules(tenant()))
    world.take(world.request(1))
    world.take(world.outcome(succeeded(ONE)))
    (said,) = world.take(world.request(1, dry_run=True))
    assert (said["kind"], said["error"]["code"]) == ("generation.duplicate", "id_conflict")
