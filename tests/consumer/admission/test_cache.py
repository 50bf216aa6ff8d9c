"""An earlier result answers only where it must be the same pictures, and only its own tenant."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace as changed

from consumer.admission.fleet_view import NO_FLEET
from consumer.admission.state import EndedRequest, OpenRequest, RequestKey
from schemas.fleet import HEARD_WITHIN_MS
from schemas.outputs import manifest_key
from schemas.requests import Adapter
from tests.consumer.admission.world import (
    NOON_MS,
    World,
    failed,
    fleet_of,
    kinds,
    neighbours,
    output,
    request_id,
    rules,
    succeeded,
    tenant,
    told,
)

ONE, TWO = request_id(1), request_id(2)
HIT = ["generation.accepted", "usage.held", "generation.succeeded", "usage.settled"]


def seen(who: Any = None, *, seed: int | None = 7, **fields: Any) -> World:
    """A world in which a request with a seed has succeeded on the weights ``r``, which its worker still has."""
    given = who or tenant()
    world = World(rules(given, window=1), fleet=fleet_of(NOON_MS, w={"m": "r"}))
    asked = {**fields, **({} if seed is None else {"seed": seed})}
    world.take(world.request(1, who=given.id, **asked))
    world.take(world.outcome(succeeded(ONE, pictures=fields.get("images", 1), who=given.id)))
    return world


def test_the_same_request_again_is_answered_at_once_and_for_nothing() -> None:
    world = seen()
    said = world.take(world.request(2, seed=7, metadata={"post": "4711"}))
    assert kinds(said) == HIT
    accepted, held, done, settled = said
    assert (accepted["cost_milliunits"], accepted["position"], accepted["seed"]) == (0, 0, 7)
    assert (held["milliunits"], settled["milliunits"]) == (0, 0)
    assert done["cached"] is True
    assert done["outputs"] == [output(0).model_dump(mode="json")]
    assert (done["weights_revision"], done["manifest"]) == ("r", manifest_key("acme", ONE))
    assert (done["attempt"], done["engine_ms"], done["metadata"]) == (0, 0, {"post": "4711"})
    assert world.state.queued == len(world.state.in_flight) == 0
    assert kinds(world.take(world.request(2, seed=7, metadata={"post": "4711"}))) == ["generation.duplicate"]


@pytest.mark.parametrize(("factor", "cost"), [("0", 0), ("0.5", 750), ("0.333", 501), ("1", 1500)])
def test_it_costs_the_tenants_part_of_the_price(factor: str, cost: int) -> None:
    who = tenant().model_copy(update={"price_factor": Decimal("0.5"), "cached_price_factor": Decimal(factor)})
    world = seen(who, images=3)
    accepted, held, done, settled = world.take(world.request(2, seed=7, images=3))
    assert accepted["cost_milliunits"] == held["milliunits"] == done["cost_milliunits"] == settled["milliunits"] == cost
    assert settled["day"] == {
        "period": "2026-11-21",
        "held": 1500 + cost,
        "settled": 1500 + cost,
        "refunded": 0,
        "outstanding": 0,
        "limit": None,
    }


@pytest.mark.parametrize(
    "fields", [{"priority": "high"}, {"deadline": "2026-11-21T13:00:00Z"}, {"metadata": {"a": "b"}}]
)
def test_what_makes_no_pixel_makes_no_difference(fields: dict[str, Any]) -> None:
    world = seen()
    assert kinds(world.take(world.request(2, seed=7, **fields))) == HIT


@pytest.mark.parametrize(
    "fields",
    [
        {"seed": 8},
        {},
        {"seed": 7, "prompt": "a blue square"},
        {"seed": 7, "negative_prompt": "blur"},
        {"seed": 7, "images": 2},
        {"seed": 7, "width": 256},
        {"seed": 7, "height": 256},
        {"seed": 7, "steps": 5},
        {"seed": 7, "guidance": 3.0},
        {"seed": 7, "format": "webp"},
        {"seed": 7, "quality": 80},
        {"seed": 7, "model": "other"},
    ],
)
def test_what_makes_other_pictures_is_a_miss(fields: dict[str, Any]) -> None:
    world = seen()
    assert "usage.settled" not in kinds(world.take(world.request(2, **fields)))


def test_a_seed_that_was_drawn_is_never_looked_up_nor_kept() -> None:
    world = seen(seed=None)
    drawn = told(world.said[0])["seed"]
    ended = world.state.requests[RequestKey("acme", ONE)]
    assert isinstance(ended, EndedRequest)
    assert ended.result is None
    assert kinds(world.take(world.request(2, seed=drawn)))[-1] == "job.assigned"


def test_it_is_its_tenants_own() -> None:
    one, two = neighbours(2)
    world = World(rules(tenant(one), tenant(two)), fleet=fleet_of(NOON_MS, w={"m": "r"}))
    world.take(world.request(1, who=one, seed=7))
    world.take(world.outcome(succeeded(ONE, who=one)))
    assert kinds(world.take(world.request(2, who=two, seed=7)))[-1] == "job.assigned"
    assert kinds(world.take(world.request(3, who=one, seed=7))) == HIT


@pytest.mark.parametrize(
    "fleet",
    [
        NO_FLEET,
        fleet_of(NOON_MS, w={}),
        fleet_of(NOON_MS, w={"m": "new"}),
        fleet_of(NOON_MS, w={"m": "r"}, v={"m": "new"}),
        fleet_of(NOON_MS - HEARD_WITHIN_MS, w={"m": "r"}),
    ],
)
def test_without_one_revision_that_the_fleet_reports_it_is_a_miss(fleet: Any) -> None:
    world = seen()
    world.fleet = fleet
    assert kinds(world.take(world.request(2, seed=7)))[-1] == "job.assigned"


def test_of_two_revisions_neither_is_taken() -> None:
    world = seen()
    world.fleet = fleet_of(NOON_MS, w={"m": "new"})
    world.take(world.request(2, seed=7))
    world.take(world.outcome(succeeded(TWO).model_copy(update={"weights_revision": "new"})))
    world.fleet = fleet_of(NOON_MS, w={"m": "r"}, v={"m": "new"})
    assert kinds(world.take(world.request(3, seed=7)))[-1] == "job.assigned"
    world.fleet = fleet_of(NOON_MS, v={"m": "new"})
    assert kinds(world.take(world.request(4, seed=7))) == HIT


def test_a_worker_that_has_not_loaded_the_model_says_nothing_about_it() -> None:
    world = seen()
    world.fleet = fleet_of(NOON_MS, w={"m": "r"}, v={})
    assert kinds(world.take(world.request(2, seed=7))) == HIT


def test_only_a_whole_success_is_kept() -> None:
    world = World(rules(tenant()), fleet=fleet_of(NOON_MS, w={"m": "r"}))
    world.take(world.request(1, seed=7, images=2), world.request(2, seed=8))
    world.take(world.outcome(succeeded(ONE, pictures=1)), world.outcome(failed(TWO)))
    said = world.take(world.request(3, seed=7, images=2), world.request(4, seed=8))
    assert kinds(said).count("job.assigned") == 2


def test_a_source_counts_by_its_content_which_its_key_names() -> None:
    first, second = (f"sources/acme/{digit * 64}.png" for digit in "01")
    world = seen(source_image=first)
    assert kinds(world.take(world.request(2, seed=7, source_image=first))) == HIT
    assert kinds(world.take(world.request(3, seed=7, source_image=second)))[-1] == "job.assigned"
    assert kinds(world.take(world.request(4, seed=7, source_image=first, strength=0.5)))[-1] != "usage.settled"
    assert kinds(world.take(world.request(5, seed=7, source_image=first, mask_image=second)))[-1] != "usage.settled"


def test_previews_make_no_other_picture() -> None:
    world = seen()
    assert kinds(world.take(world.request(2, seed=7, previews=True))) == HIT


@pytest.mark.parametrize("files", [{"adapters": [Adapter(name="ink")]}])
def test_what_is_made_from_files_that_may_change_is_not_kept(files: dict[str, Any]) -> None:
    world, key = World(rules(tenant())), RequestKey("acme", ONE)
    world.take(world.request(1, seed=7))
    opened = world.state.requests[key]
    assert isinstance(opened, OpenRequest)
    world.state.put(key, changed(opened, parameters=opened.parameters.model_copy(update=files)))
    world.take(world.outcome(succeeded(ONE)))
    ended = world.state.requests[key]
    assert isinstance(ended, EndedRequest)
    assert ended.result is None


def test_budgets_and_rate_come_first_and_the_queue_does_not_matter() -> None:
    who = tenant(requests_per_minute=60, burst=5, units_per_day=Decimal(3), queued=1)
    world = seen(who.model_copy(update={"cached_price_factor": Decimal("0.5")}))
    # One runs and one waits: the queue is full, the budget has none left for another.
    world.take(world.request(2), world.request(3))
    assert world.take(world.request(4, seed=7))[0]["error"]["code"] == "budget_day_exceeded"
    world.rules = replace(world.rules, directory=rules(tenant(requests_per_minute=60, burst=5, queued=1)).directory)
    assert kinds(world.take(world.request(5, seed=7))) == HIT
    assert world.take(world.request(6, seed=7))[0]["error"]["code"] == "rate_limited"


def test_a_dry_run_says_that_it_would_be() -> None:
    world = seen(tenant().model_copy(update={"cached_price_factor": Decimal("0.5")}))
    (said,) = world.take(world.request(2, seed=7, dry_run=True))
    assert (said["cached"], said["cost_milliunits"], said["position"], said["acceptable"]) == (True, 500, 0, True)


def test_it_is_forgotten_with_its_request() -> None:
    world = seen()
    world.now_ms = NOON_MS + 72 * 3_600_000
    world.fleet = fleet_of(world.now_ms, w={"m": "r"})
    world.take()
    assert kinds(world.take(world.request(2, seed=7)))[-1] == "job.assigned"


def test_it_is_known_after_a_restart_and_as_the_first_of_its_kind() -> None:
    world = World(rules(tenant()), fleet=fleet_of(NOON_MS, w={"m": "r"}))
    world.take(world.request(1, seed=7), world.request(2, seed=7))
    world.take(world.outcome(succeeded(ONE)), world.outcome(succeeded(TWO)))
    for number in (3, 4):
        done = world.take(world.request(number, seed=7))[2]
        assert (done["cached"], done["manifest"]) == (True, manifest_key("acme", ONE))
        before = world.state
        world.restart()
        assert world.state.requests == before.requests
