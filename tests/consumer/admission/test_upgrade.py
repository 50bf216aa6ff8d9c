"""Releases side by side: a ledger of 0.1 is read on with, and what this release writes is read by 0.1 again."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import to_json

from consumer.admission.fleet_view import Heard
from consumer.admission.keys import RequestKey
from consumer.admission.ledger import Restored
from schemas.fleet import HeldJob
from schemas.ids import new_id
from schemas.settings import Settings
from tests.consumer.admission.fleets import fleet, worker
from tests.consumer.admission.test_service import report
from tests.consumer.admission.world import (
    NOON_MS,
    World,
    kinds,
    request_id,
    rules,
    started,
    succeeded,
    tenant,
)
from tests.house import House
from transport.records import Record

ROOT = Path(__file__).resolve().parents[3]
FIRST = "9a80495"
"""The last commit of the first format's writers: it knows no cancels, pools, leases or results that are kept."""


def test_a_ledger_of_the_first_release_is_read_on_with() -> None:
    """Six requests: one ended, one started, one to be tried again, one with the fleet and two that wait."""
    written = json.loads(Path(__file__).with_name("ledger_0_1.json").read_text())
    restored = Restored()
    restored.read(Record("t.ledger", 0, 0, NOON_MS, key.encode(), to_json(value), ()) for key, value in written.items())
    restored.finish()
    world = World(rules(tenant("acme", units_per_day=100), window=8), restored.state, now_ms=NOON_MS + 60_000)
    day = restored.state.account("acme").days["2026-11-21"]
    assert (day.held, day.settled, day.refunded) == (6_000, 1_000, 0)
    world._ends = {"t.requests": 6, "t.outcomes": 3}
    again = world.take(world.request(0, event_id=request_id(0), at_ms=NOON_MS))
    assert again[0]["kind"] == "generation.duplicate"
    assert again[0]["error"] is None, "the body of a request that has ended is known"
    attempts = {number: world.state.requests[RequestKey("acme", request_id(number))] for number in range(1, 6)}
    said = world.take(
        *(world.outcome(succeeded(request_id(n), attempt=one.attempt)) for n, one in attempts.items())  # type: ignore[union-attr]
    )
    assert Counter(kinds(said))["generation.succeeded"] == 5
    day = world.state.account("acme").days["2026-11-21"]
    assert (day.held, day.settled, day.outstanding) == (6_000, 6_000, 0)


def test_workers_of_the_first_release_tell_no_pool_and_are_not_counted_on() -> None:
    """They work as if nobody were known; beside a worker of this release, what they have is sent again."""
    world = World(rules(tenant(), window=2))

    def told(*more: Heard) -> list[dict[str, Any]]:
        world.fleet = fleet(worker("old", world.now_ms, pool=None, partitions=[0, 1]), *more)
        return [one for one in world.take() if one["kind"] == "job.assigned"]

    world.take(*(world.request(number) for number in range(3)))
    assert (len(world.state.in_flight), world.state.queued) == (2, 1)
    for _ in range(3):
        world.now_ms += world.rules.lease_ms
        assert told() == [], "sent again, though nobody could do better"
    first, second, third = (request_id(number) for number in range(3))
    jobs: list[dict[str, Any]] = []
    for _ in range(20):
        held = [HeldJob("acme", third, 1, "running")]
        jobs += told(worker("new", world.now_ms, partitions=[3], capacity_milliunits=9_000, held=held))
        world.now_ms += world.rules.lease_ms // 10
    assert {(job["request_id"], job["attempt"]) for job in jobs[:3]} == {(third, 1), (first, 2), (second, 2)}
    assert {out.partition for out in world.said[-len(jobs) :] if out.topic == "t.jobs.default"} == {3}


@pytest.fixture(scope="module")
def first_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source of the first release; a shallow clone has none."""
    folder = tmp_path_factory.mktemp("first")
    archive = subprocess.run(
        ["git", "archive", FIRST, "consumer", "schemas", "transport"], cwd=ROOT, capture_output=True, check=False
    )
    if archive.returncode:
        pytest.skip(f"the history does not reach back to {FIRST}")
    subprocess.run(["tar", "-x"], cwd=folder, input=archive.stdout, check=True)
    return folder


@pytest.mark.system
async def test_old_and_new_hand_over_to_each_other_under_load(
    settings: Settings, tmp_path: Path, first_release: Path
) -> None:
    house = await House.build(settings, tmp_path)
    old = {"PYTHONPATH": str(first_release), "PYTHONSAFEPATH": "1"}
    names: list[tuple[str, str]] = []

    async def load(count: int) -> None:
        new = [(who, new_id()) for _ in range(count) for who in house.keys]
        names.extend(new)
        await house.publish(*(house.request(who, name=name) for who, name in new))

    async def end(some: list[tuple[str, str]]) -> None:
        await house.publish(
            *(report(house, started(name, who=who)) for who, name in some),
            *(report(house, succeeded(name, who=who)) for who, name in some),
        )

    def all_accepted(results: list[dict[str, object]]) -> bool:
        return sum(one["kind"] == "generation.accepted" for one in results) >= len(names)

    try:
        first = await house.admission(**old).ready()
        await load(4)
        # Side by side, each with some of the partitions.
        second = await house.admission().ready()
        shown = ["easel_tenant_queued" in stage.get("/metrics")[1] for stage in (first, second)]
        assert shown == [False, True], "these are not two releases"
        await load(4)
        await house.until(all_accepted)
        await end(names[:6])
        first.kill()
        await load(4)
        await second.ready()
        await house.until(all_accepted)
        await end(names[6:15])
        await house.until_ended(15)
        # And back, before anything was asked for that the first release does not know.
        third = await house.admission(**old).ready()
        second.kill()
        await load(4)
        await third.ready()
        await house.until(all_accepted)
        for _ in range(20):
            await end(names[15:])
            if len({r["request_id"] for r in await house.results() if r["kind"] in ENDS}) == len(names):
                break
        await house.until_ended(len(names))
        await house.require_balance()
    finally:
        house.close()


ENDS = {"generation.succeeded", "generation.failed"}
