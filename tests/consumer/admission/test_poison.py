"""A job that takes its worker along is found out, and nobody else is blamed: not who ran beside it, not a deploy."""

from __future__ import annotations

from typing import Any

import pytest

from consumer.admission.state import EndedRequest, OpenRequest, RequestKey
from schemas.errors import Code
from tests.consumer.admission.world import (
    NOON_MS,
    World,
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
ATTEMPTS = 3


@pytest.fixture
def world() -> World:
    world = World(rules(tenant(), lease_ms=60_000))
    world.fleet = fleet_with(NOON_MS, w=[])
    world.take(world.request(1))
    return world


def asked(world: World) -> OpenRequest:
    found = world.state.requests[RequestKey("acme", ONE)]
    assert isinstance(found, OpenRequest)
    return found


def begin(world: World, *workers: str, alone: bool = True) -> list[dict[str, Any]]:
    return world.take(*(world.outcome(started(ONE, worker=worker, alone=alone)) for worker in workers))


def wait(world: World, most_s: int, *alive: str) -> tuple[int, list[dict[str, Any]]]:
    """Let seconds pass, with a heartbeat of these in each, until something is said: after how many, and what."""
    for second in range(1, most_s + 1):
        world.now_ms += 1_000
        world.fleet = fleet_with(world.now_ms, "default", **{name: [] for name in alive})
        if said := world.take():
            return second, said
    return most_s, []


def test_a_second_start_while_one_never_ended_marks_it_to_run_alone(world: World) -> None:
    assert begin(world, "a", alone=False) == []
    (note,) = begin(world, "b", alone=False)
    assert (note["sent_to"], note["min_attempt"], note["canceled"], note["alone"]) == ("control", 1, False, True)
    assert asked(world).alone
    # Once is enough.
    assert begin(world, "c", alone=False) == []


def test_after_so_many_starts_alone_one_more_is_its_end(world: World) -> None:
    begin(world, "a", alone=False)
    begin(world, "b", "c", "d")
    assert asked(world).lone_starts == ATTEMPTS
    said = begin(world, "e")
    assert kinds(said) == ["generation.failed", "usage.refunded", "control"]
    assert said[0]["error"]["code"] == "poison"
    assert said[0]["cost_milliunits"] == 0
    assert said[2]["min_attempt"] == 2


def test_a_start_that_is_reported_again_is_not_one_more(world: World) -> None:
    """The broker was away: the worker said it until it heard an answer, and all of it was written."""
    begin(world, "a", alone=False)
    said = world.take(*(world.outcome(started(ONE, worker="b", alone=True, start=1)) for _ in range(2 * ATTEMPTS)))
    assert kinds(said) == ["control"]
    assert asked(world).lone_starts == 1
    world.take(world.outcome(started(ONE, worker="b", alone=True, start=2)))
    assert asked(world).lone_starts == 2
    world.restart()
    world.take(world.outcome(started(ONE, worker="b", alone=True, start=2)))
    assert asked(world).lone_starts == 2


def test_starts_in_company_never_count(world: World) -> None:
    begin(world, *"abcdefgh", alone=False)
    begin(world, "i", "j", "k")
    assert asked(world).lone_starts == ATTEMPTS


@pytest.mark.parametrize("alone", [False, True])
def test_a_release_uncounts_the_start_of_its_worker(world: World, alone: bool) -> None:
    begin(world, "a", "b")
    world.take(world.outcome(started(ONE, worker="c", alone=alone)))
    world.take(world.outcome(released(ONE, worker="c")))
    assert [(start.worker, start.alone) for start in asked(world).starts] == [("a", True), ("b", True)]
    world.take(world.outcome(released(ONE, worker="a")))
    assert asked(world).lone_starts == 1
    # A worker that has reported no start has none to take back.
    world.take(world.outcome(released(ONE, worker="z")))
    assert asked(world).lone_starts == 1


def test_its_last_worker_is_gone(world: World) -> None:
    begin(world, "a", "b", "c")
    # The last that ran it is alive: it may well succeed.
    assert wait(world, 20, "w", "c") == (20, [])
    seconds, said = wait(world, 30, "w")
    assert seconds < 15
    assert kinds(said) == ["generation.failed", "usage.refunded", "control"]
    assert said[0]["error"]["code"] == "poison"


def test_its_worker_is_gone_before_it_was_alone_often_enough(world: World) -> None:
    begin(world, "a", "b")
    assert wait(world, 40, "w") == (40, [])


def test_its_last_start_was_never_heard_of_again(world: World) -> None:
    begin(world, "a", "b", "c")
    seconds, said = wait(world, 80, "w", "c")
    assert seconds >= 60
    assert said[0]["error"]["code"] == "poison"


def test_lone_starts_count_across_attempts(world: World) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        world.take(world.outcome(started(ONE, attempt=attempt, worker=f"v{attempt}", alone=True)))
        # They stay alive but have forgotten it: only the lease finds out.
        seconds, said = wait(world, 80, "w", "v1", "v2", "v3")
        assert seconds >= 60
        if attempt < ATTEMPTS:
            assert kinds(said) == ["job.assigned", "control"]
            assert said[0]["alone"] is True
        else:
            assert said[0]["error"]["code"] == "poison"


def test_a_worker_that_says_poison_ends_it_at_once(world: World) -> None:
    begin(world, "a")
    said = world.take(world.outcome(failed(ONE, worker="a", code=Code.POISON, retryable=True)))
    assert kinds(said) == ["generation.failed", "usage.refunded"]


def test_a_failure_ends_its_own_start_alone(world: World) -> None:
    begin(world, "a", "b")
    world.take(world.outcome(failed(ONE, worker="b", retryable=True)))
    world.now_ms += 2_000
    (job,) = world.take()
    assert (job["attempt"], job["alone"]) == (2, True)
    assert [start.worker for start in asked(world).starts] == ["a"]


def test_a_failure_after_which_nothing_is_left_open_needs_no_caution(world: World) -> None:
    begin(world, "a", alone=False)
    world.take(world.outcome(failed(ONE, worker="a", retryable=True)))
    world.now_ms += 2_000
    (job,) = world.take()
    assert (job["attempt"], job["alone"]) == (2, False)
    assert asked(world).starts == ()


def test_late_word_of_an_earlier_start_takes_it_back(world: World) -> None:
    begin(world, "a", "b")
    world.take(world.outcome(failed(ONE, worker="b", retryable=True)))
    world.take(world.outcome(released(ONE, worker="a")))
    assert asked(world).starts == ()
    assert not asked(world).alone
    assert asked(world).state == "queued"


def test_it_may_succeed_to_the_last(world: World) -> None:
    begin(world, "a", "b", "c")
    said = world.take(world.outcome(succeeded(ONE)))
    # Who of the others still has it is to stop.
    assert kinds(said) == ["generation.succeeded", "usage.settled", "control"]


def test_what_was_to_be_stopped_is_canceled(world: World) -> None:
    begin(world, "a", "b", "c")
    world.take(world.cancel(9, ONE))
    assert kinds(begin(world, "d")) == ["generation.canceled", "usage.refunded"]
    assert isinstance(world.state.requests[RequestKey("acme", ONE)], EndedRequest)
