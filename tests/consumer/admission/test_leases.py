"""A lease on every job: renewed by who has it, run down while somebody could, and then the job is sent again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consumer.admission.fleet_view import NO_FLEET, Fleet, Heard
from consumer.admission.leases import Leases
from consumer.admission.state import OpenRequest, RequestKey
from tests.consumer.admission.world import (
    NOON_MS,
    World,
    canceled,
    failed,
    fleet_with,
    kinds,
    released,
    request_id,
    rules,
    started,
    succeeded,
    tenant,
)

ONE = request_id(1)
LEASE_MS = 20_000


@pytest.fixture
def world() -> World:
    world = World(rules(tenant(), lease_ms=LEASE_MS))
    world.fleet = fleet_with(NOON_MS, w=[])
    world.take(world.request(1))
    return world


def later(world: World, ms: int, **held: list[tuple[str, int]]) -> list[str]:
    """Let time pass in ticks of a quarter of a second, with a fresh heartbeat at each; what was said."""
    said = []
    for _ in range(ms // 250):
        world.now_ms += 250
        world.fleet = fleet_with(world.now_ms, "default", **held)
        said += kinds(world.take())
    return said


def asked(world: World, name: str = ONE) -> OpenRequest:
    found = world.state.requests[RequestKey("acme", name)]
    assert isinstance(found, OpenRequest)
    return found


def test_a_job_that_nobody_has_is_sent_again_with_a_note(world: World) -> None:
    assert later(world, LEASE_MS - 250, w=[]) == []
    assert later(world, 6_000, w=[]) == ["job.assigned", "control"]
    assert (asked(world).attempt, asked(world).state, asked(world).failures) == (2, "dispatched", 0)
    note = world.said[-1]
    assert b'"min_attempt":2' in (note.value or b"")
    # It is the same request: nothing was held or settled a second time.
    assert kinds(world.take(world.outcome(succeeded(ONE, attempt=2)))) == ["generation.succeeded", "usage.settled"]


def test_its_turn_and_its_place_in_the_window_stay_as_they_are(world: World) -> None:
    before = world.state.account("acme")
    later(world, LEASE_MS + 6_000, w=[])
    assert asked(world).attempt == 2
    assert world.state.account("acme") == before


def test_who_has_it_renews_it(world: World) -> None:
    assert later(world, 4 * LEASE_MS, w=[(ONE, 1)]) == []
    # Of an earlier attempt, or of another request: that says nothing.
    assert later(world, LEASE_MS + 6_000, w=[(ONE, 2), (request_id(2), 1)]) == ["job.assigned", "control"]


def test_a_dead_workers_last_word_renews_nothing(world: World) -> None:
    dead = fleet_with(world.now_ms, v=[(ONE, 1)])
    for _ in range((LEASE_MS + 6_000) // 250):
        world.now_ms += 250
        world.fleet = Fleet({**dead.instances, **fleet_with(world.now_ms, w=[]).instances})
        world.take()
    assert asked(world).attempt == 2


@pytest.mark.parametrize("fleet", ["nobody", "stale", "another pool", "not ready", "leaving"])
def test_while_its_pool_has_nobody_the_lease_stands_still(world: World, fleet: str) -> None:
    stale = fleet_with(NOON_MS, w=[])
    for _ in range(6 * LEASE_MS // 250):
        world.now_ms += 250
        here = fleet_with(world.now_ms, w=[])
        heard = here.instances["w"]

        def told(heard: Heard = heard, **changes: bool) -> Fleet:
            return Fleet({"w": replace(heard, beat=heard.beat.model_copy(update=changes))})

        world.fleet = {
            "nobody": NO_FLEET,
            "stale": stale if world.now_ms > NOON_MS + 8_000 else NO_FLEET,
            "another pool": fleet_with(world.now_ms, "big", w=[]),
            "not ready": told(ready=False),
            "leaving": told(draining=True),
        }[fleet]
        assert world.take() == []
    # As soon as there is somebody, it has a whole lease, but for what lies between two looks.
    assert later(world, LEASE_MS - 5_000, w=[]) == []
    assert later(world, 10_000, w=[]) == ["job.assigned", "control"]


def test_word_of_a_job_renews_its_lease(world: World) -> None:
    for report in (started(ONE), released(ONE), started(ONE)):
        assert later(world, LEASE_MS - 5_000, w=[]) == []
        world.take(world.outcome(report))
    assert asked(world).attempt == 1


def test_after_a_restore_every_lease_is_new(world: World) -> None:
    later(world, LEASE_MS - 1_000, w=[])
    world.restart()
    assert later(world, LEASE_MS - 5_000, w=[]) == []
    assert later(world, 10_000, w=[]) == ["job.assigned", "control"]


def test_a_cancel_whose_worker_never_answers_ends(world: World) -> None:
    world.take(world.cancel(9, ONE))
    assert later(world, LEASE_MS + 6_000, w=[]) == ["generation.canceled", "usage.refunded"]
    assert world.take(world.outcome(canceled(ONE, 4))) == []


def test_what_ran_when_its_lease_ran_out_runs_alone_next_time(world: World) -> None:
    world.take(world.outcome(started(ONE)))
    assert later(world, LEASE_MS + 6_000, w=[]) == ["job.assigned", "control"]
    job, note = world.said[-2:]
    assert b'"alone":true' in (job.value or b"")
    assert b'"alone":true' in (note.value or b"")


def test_what_was_sent_again_counts_as_no_failure_of_its_model(world: World) -> None:
    for _ in range(4):
        assert later(world, LEASE_MS + 6_000, w=[])[:2] == ["job.assigned", "control"]
    attempt = asked(world).attempt
    assert attempt > 3
    assert world.take(world.outcome(failed(ONE, attempt=attempt, retryable=True))) == []
    assert (asked(world).state, asked(world).failures) == ("queued", 1)
    assert (asked(world).retry_at_ms or 0) - world.now_ms <= 2_000


def test_a_success_of_the_attempt_that_was_given_up_counts(world: World) -> None:
    later(world, LEASE_MS + 6_000, w=[])
    said = world.take(world.outcome(succeeded(ONE, attempt=1)))
    assert kinds(said) == ["generation.succeeded", "usage.settled", "control"]
    assert said[2]["min_attempt"] == 3


def test_only_what_is_due_is_looked_at() -> None:
    leases = Leases()
    keys = [RequestKey("acme", request_id(number)) for number in range(1_000)]
    for key in keys:
        leases.renew(key)
    looked = 0
    while (due := leases.due(100)) is not None:
        leases.look_again(due, 200 + looked)
        looked += 1
    assert looked == 1_000
    assert leases.due(199) is None
    leases.end(keys[0])
    assert len({leases.due(at_ms) for at_ms in range(200, 1_200)}) == 1
