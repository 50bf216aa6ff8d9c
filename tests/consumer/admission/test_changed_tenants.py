"""A changed ``tenants.yaml``: it applies from the batch after it is in force, and no balance lies because of it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from schemas.tenants import Tenant
from tests.consumer.admission.world import (
    World,
    directory,
    failed,
    fleet_of,
    kinds,
    request_id,
    rules,
    succeeded,
    tenant,
    told,
)

OTHER = tenant("other")


def change(world: World, *tenants: Tenant) -> None:
    """The file now says this, in a version above the last."""
    version = world.rules.directory.version + 1
    world.rules = replace(world.rules, directory=directory(*tenants, OTHER, version=version))


def entries(said: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(m["kind"].removeprefix("usage."), m["milliunits"]) for m in said if m["sent_to"] == "usage"]


def require_true_books(world: World) -> None:
    """Each entry's balances are what the entries up to it add up to, for the day and the month they are posted to."""
    sums: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: {"held": 0, "settled": 0, "refunded": 0})
    seen = set()
    for out in world.said:
        entry = told(out)
        if entry["sent_to"] != "usage":
            continue
        kind = entry["kind"].removeprefix("usage.")
        assert (entry["tenant"], entry["request_id"], kind) not in seen
        seen.add((entry["tenant"], entry["request_id"], kind))
        for period in (entry["day"], entry["month"]):
            sum_ = sums[entry["tenant"], period["period"]]
            sum_[kind] += entry["milliunits"]
            outstanding = sum_["held"] - sum_["settled"] - sum_["refunded"]
            assert {**sum_, "outstanding": outstanding} == {name: period[name] for name in (*sum_, "outstanding")}
            assert outstanding >= 0
    for (name, period), sum_ in sums.items():
        account = world.state.account(name)
        kept = account.days.get(period) or account.months.get(period)
        assert kept is None or (kept.held, kept.settled, kept.refunded) == tuple(sum_.values())


def test_a_budget_below_what_is_used_holds_nothing_more_and_takes_nothing_back() -> None:
    world = World(rules(tenant(units_per_day=Decimal(10), units_per_month=Decimal(10)), OTHER))
    world.take(world.request(1, images=4), world.request(2, images=3))
    change(world, tenant(units_per_day=Decimal(5), units_per_month=Decimal(6)))
    said = world.take(world.request(3))
    assert said[0]["error"]["code"] == "budget_day_exceeded"
    assert said[0]["limit"] == {"name": "milliunits_per_day", "limit": 5000, "remaining": 0}
    # What was held goes on, and is settled and refunded as if nothing had changed; the entry says the new limit.
    said = world.take(world.outcome(succeeded(request_id(1), pictures=3)))
    assert entries(said) == [("settled", 3000), ("refunded", 1000)]
    assert said[-1]["day"] == {
        "period": "2026-11-21",
        "held": 7000,
        "settled": 3000,
        "refunded": 1000,
        "outstanding": 3000,
        "limit": 5000,
    }
    # 6,000 are used: still nothing. A refund of 3,000 gives room again for two.
    assert world.take(world.request(4))[0]["error"]["code"] == "budget_day_exceeded"
    world.take(world.outcome(failed(request_id(2))))
    said = world.take(world.request(5, images=2), world.request(6))
    assert [m["kind"] for m in said if m["sent_to"] == "results"] == ["generation.accepted", "generation.rejected"]
    change(world, tenant(units_per_day=Decimal(6), units_per_month=Decimal(10)))
    assert "generation.accepted" in kinds(world.take(world.request(7)))
    assert world.take(world.request(8))[0]["error"]["code"] == "budget_day_exceeded"
    require_true_books(world)


def test_a_queue_that_is_shortened_keeps_what_waits_in_it() -> None:
    world = World(rules(tenant(), OTHER, window=1))
    world.take(*(world.request(number) for number in range(1, 6)))
    change(world, tenant(queued=2))
    said = world.take(world.request(6))
    assert said[0]["limit"] == {"name": "queued", "limit": 2, "remaining": 0}
    assert world.state.queued == 4


def test_a_lower_rate_applies_to_the_tokens_that_are_there() -> None:
    world = World(rules(tenant(requests_per_minute=600, burst=10), OTHER))
    world.take(world.request(1))
    change(world, tenant(requests_per_minute=60, burst=1))
    said = world.take(world.request(2), world.request(3))
    assert [m["kind"] for m in said if m["sent_to"] == "results"] == ["generation.accepted", "generation.rejected"]
    assert said[-1]["retry_after_s"] == 1.0


def test_a_price_that_changes_is_that_of_the_hold() -> None:
    world = World(rules(tenant(), OTHER))
    world.take(world.request(1, images=2), world.request(2))
    change(world, tenant().model_copy(update={"price_factor": Decimal(3)}))
    assert entries(world.take(world.outcome(succeeded(request_id(1), pictures=1)))) == [
        ("settled", 1000),
        ("refunded", 1000),
    ]
    assert entries(world.take(world.outcome(succeeded(request_id(2))))) == [("settled", 1000)]
    assert entries(world.take(world.request(3))) == [("held", 3000)]
    require_true_books(world)


def test_a_price_of_cached_answers_applies_to_the_next_one() -> None:
    world = World(rules(tenant(), OTHER))
    world.fleet = fleet_of(world.now_ms, w={"m": "r"})
    world.take(world.request(1, seed=7))
    world.take(world.outcome(succeeded(request_id(1))))
    assert entries(world.take(world.request(2, seed=7))) == [("held", 0), ("settled", 0)]
    change(world, tenant().model_copy(update={"cached_price_factor": Decimal("0.25")}))
    assert entries(world.take(world.request(3, seed=7))) == [("held", 250), ("settled", 250)]
    require_true_books(world)


@pytest.mark.parametrize(
    ("zone", "days"),
    [
        # 12:00 UTC on the 21st: one of these is tomorrow already.
        ("Pacific/Kiritimati", ("2026-11-21", "2026-11-22")),
        ("Pacific/Pago_Pago", ("2026-11-21", "2026-11-21")),
    ],
)
def test_another_time_zone_posts_to_the_day_of_the_hold(zone: str, days: tuple[str, str]) -> None:
    world = World(rules(tenant(), OTHER))
    world.take(world.request(1), world.request(2, images=2))
    change(world, tenant().model_copy(update={"time_zone": zone}))
    world.take(world.request(3))
    said = [
        *world.take(world.outcome(succeeded(request_id(1)))),
        *world.take(world.outcome(failed(request_id(2)))),
        *world.take(world.outcome(succeeded(request_id(3)))),
    ]
    assert [m["day"]["period"] for m in said if m["sent_to"] == "usage"] == [days[0], days[0], days[1]]
    require_true_books(world)


def test_another_time_zone_over_the_end_of_a_month_posts_to_the_month_of_the_hold() -> None:
    world = World(rules(tenant(), OTHER), now_ms=1_796_083_200_000)
    world.take(world.request(1))
    assert world.state.account("acme").months["2026-12"].held == 1000
    change(world, tenant().model_copy(update={"time_zone": "America/New_York"}))
    world.take(world.request(2))
    said = world.take(world.outcome(failed(request_id(1, world.now_ms))))
    assert (said[-1]["month"]["period"], said[-1]["month"]["outstanding"]) == ("2026-12", 0)
    assert world.state.account("acme").months["2026-11"].outstanding == 1000
    require_true_books(world)


def test_a_tenant_that_is_taken_out_of_the_file_is_served_what_it_was_promised() -> None:
    world = World(rules(tenant(units_per_day=Decimal(9)), OTHER, window=1))
    world.take(world.request(1), world.request(2), world.request(3))
    late = world.request(4)
    change(world)
    # Nobody can ask in its name any more.
    (letter,) = world.take(late)
    assert (letter["sent_to"], letter["cause"]["code"]) == ("dead-letters", "key_unknown")
    said = world.take(world.outcome(succeeded(request_id(1))))
    assert kinds(said) == ["generation.succeeded", "usage.settled", "job.assigned"]
    assert said[1]["day"]["limit"] is None
    world.restart()
    world.take(world.outcome(failed(request_id(2))))
    assert kinds(world.take(world.outcome(succeeded(request_id(3))))) == ["generation.succeeded", "usage.settled"]
    account = world.state.account("acme").days["2026-11-21"]
    assert (account.held, account.settled, account.refunded, account.outstanding) == (3000, 2000, 1000, 0)
    # And back again: its account is what it was.
    change(world, tenant(units_per_day=Decimal(3)))
    said = world.take(world.request(5, images=2))
    assert said[0]["limit"] == {"name": "milliunits_per_day", "limit": 3000, "remaining": 1000}
    require_true_books(world)


def test_the_version_that_was_applied_is_in_the_ledger() -> None:
    """The stated point: whoever reads the ledger knows by which version the batch was decided, and none goes back."""
    world = World(rules(tenant(), OTHER))
    world.take(world.request(1))
    change(world, tenant(units_per_day=Decimal(1)))
    world.take()
    assert world.state.tenants_version == 2
    world.restart()
    assert world.state.tenants_version == 2
