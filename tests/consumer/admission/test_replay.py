"""How long an id is known, and what a replay of a dead letter may do: never twice, whenever it comes."""

from __future__ import annotations

from decimal import Decimal

import pytest
from msgspec.structs import replace

from consumer.admission.intake import APPENDED_HEADER, REPLAY_HEADER
from consumer.admission.state import OpenRequest, RequestKey
from tests.consumer.admission.world import NOON_MS, TOPICS, World, kinds, request_id, rules, succeeded, tenant
from transport.records import Record

ONE = request_id(1)
KEY = RequestKey("acme", ONE)
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def replay_of(world: World, record: Record) -> Record:
    """The record as an operator puts it on the rerouted topic, from the dead letters."""
    ours = (
        (APPENDED_HEADER, str(record.timestamp_ms).encode()),
        (REPLAY_HEADER, b"t.dead-letters/0/17"),
    )
    return world.record(TOPICS.rerouted, record.value, (*record.headers, *ours))


def test_a_record_that_was_a_dead_letter_is_accepted_days_later() -> None:
    world = World(rules(tenant()))
    record = world.request(1)
    world.now_ms = NOON_MS + 20 * DAY_MS
    assert "generation.accepted" in kinds(world.take(replay_of(world, record)))
    opened = world.state.requests[KEY]
    assert isinstance(opened, OpenRequest)
    # Charged to the day on which it is accepted: the books of the other day are closed.
    assert (opened.day, opened.accepted_ms) == ("2026-12-11", world.now_ms)


@pytest.mark.parametrize("ended", [False, True])
def test_a_replay_of_a_bound_id_is_a_duplicate(ended: bool) -> None:
    world = World(rules(tenant()))
    record = world.request(1)
    world.take(record)
    if ended:
        world.take(world.outcome(succeeded(ONE)))
    said = world.take(replay_of(world, record), replay_of(world, record))
    assert kinds(said) == ["generation.duplicate"] * 2
    assert world.state.account("acme").days["2026-11-21"].held == 1000


def test_a_replayed_id_is_known_as_long_as_its_dead_letter_may_be_kept() -> None:
    world = World(rules(tenant()))
    record = world.request(1)
    world.take(replay_of(world, record))
    world.restart()
    world.take(world.outcome(succeeded(ONE)))
    world.now_ms = NOON_MS + 31 * DAY_MS - 1
    world.take()
    assert kinds(world.take(replay_of(world, record))) == ["generation.duplicate"]
    world.now_ms += 1
    world.take()
    assert KEY not in world.state.requests


def test_the_window_is_a_setting() -> None:
    world = World(rules(tenant(), remembered_ms=49 * HOUR_MS))
    world.take(world.request(1))
    world.take(world.outcome(succeeded(ONE)))
    world.take(now_ms=NOON_MS + 49 * HOUR_MS - 1)
    assert KEY in world.state.requests
    world.take(now_ms=NOON_MS + 49 * HOUR_MS)
    assert KEY not in world.state.requests


def test_a_window_longer_than_that_of_replays_holds_for_them_too() -> None:
    world = World(rules(tenant(), remembered_ms=60 * DAY_MS))
    world.take(replay_of(world, world.request(1)))
    world.take(world.outcome(succeeded(ONE)))
    world.take(now_ms=NOON_MS + 60 * DAY_MS - 1)
    assert KEY in world.state.requests


def test_a_token_that_had_expired_when_it_came_is_not_revived() -> None:
    world = World(rules(tenant()))
    record = replace(world.request(1, at_ms=NOON_MS - 2 * HOUR_MS), timestamp_ms=NOON_MS)
    (said,) = world.take(replay_of(world, record))
    assert (said["sent_to"], said["cause"]["code"]) == ("dead-letters", "token_expired")


def test_the_rate_is_that_of_the_replay() -> None:
    world = World(rules(tenant(requests_per_minute=60, burst=1)))
    first, second = world.request(1), world.request(2)
    world.now_ms = NOON_MS + 20 * DAY_MS
    said = world.take(replay_of(world, first), replay_of(world, second))
    assert (said[-1]["error"]["code"], said[-1]["retry_after_s"]) == ("rate_limited", 1.0)


def test_budgets_are_those_of_the_day_of_the_replay() -> None:
    world = World(rules(tenant(units_per_day=Decimal(1))))
    record = world.request(1)
    world.now_ms = NOON_MS + 20 * DAY_MS
    world.take(world.request(2))
    (said,) = world.take(replay_of(world, record))
    assert said["error"]["code"] == "budget_day_exceeded"


def test_a_deadline_that_has_passed_meanwhile_is_rejected() -> None:
    world = World(rules(tenant()))
    record = world.request(1, deadline="2026-11-21T13:00:00Z")
    world.now_ms = NOON_MS + DAY_MS
    (said,) = world.take(replay_of(world, record))
    assert said["error"]["code"] == "deadline_exceeded"


def test_nobody_but_an_operator_can_say_that_it_is_one() -> None:
    """On the requests topic the header says nothing, also where admission moves the record on."""
    home = rules(tenant()).partition
    stranger = World(rules(tenant(), partition=(home + 1) % 4))
    record = stranger.request(1)
    forged = replace(record, headers=(*record.headers, (REPLAY_HEADER, b"t.dead-letters/0/17")))
    stranger.take(forged)
    (out,) = stranger.said
    assert REPLAY_HEADER not in dict(out.headers)
    world = World(rules(tenant()))
    world.take(replace(forged, partition=home))
    opened = world.state.requests[KEY]
    assert isinstance(opened, OpenRequest)
    assert not opened.replayed


def test_a_replay_on_a_foreign_partition_stays_one() -> None:
    home = rules(tenant()).partition
    stranger = World(rules(tenant(), partition=(home + 1) % 4))
    record = stranger.request(1)
    stranger.now_ms = NOON_MS + 20 * DAY_MS
    stranger.take(replay_of(stranger, record))
    (out,) = stranger.said
    world = World(rules(tenant()), now_ms=stranger.now_ms)
    world.take(world.record(TOPICS.rerouted, out.value, out.headers))
    opened = world.state.requests[KEY]
    assert isinstance(opened, OpenRequest)
    assert opened.replayed
