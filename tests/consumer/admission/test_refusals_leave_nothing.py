"""What was refused is over: no exception, with the frames and the batch that hang on it, outlives its answer."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest

from schemas.errors import EaselError
from tests.consumer.admission.world import World, rules, tenant

BEFORE = 3


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    """What only the collector would free stays; and it can't see through every struct of ours."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def refusals_alive() -> int:
    # Not by isinstance: it asks the object, and a lazy module may answer with a warning.
    return sum(issubclass(type(one), EaselError) for one in gc.get_objects())


LIMITS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "queue_full": ({"queued": 1}, {}),
    "budget_day_exceeded": ({"units_per_day": 1}, {}),
    "budget_month_exceeded": ({"units_per_month": 1}, {}),
    "rate_limited": ({"requests_per_minute": 1, "burst": 1}, {}),
    "limit_exceeded": ({"images": 1}, {"images": 2}),
    "model_not_found": ({}, {"model": "nowhere"}),
    "invalid_request": ({}, {"images": 0}),
}


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("code", LIMITS)
def test_it(code: str, dry_run: bool) -> None:
    limits, fields = LIMITS[code]
    alive = refusals_alive()
    world = World(rules(tenant(**limits), window=0))
    for number in range(BEFORE):
        world.take(world.request(number + 1, **fields))
    answers = [
        world.take(world.request(number, dry_run=dry_run, **fields))[0] for number in range(BEFORE + 1, BEFORE + 6)
    ]
    assert {answer["error"]["code"] for answer in answers} == {code}
    assert refusals_alive() == alive
