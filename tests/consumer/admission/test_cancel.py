"""A cancel of what waits, what runs, what has ended, what nobody knows, and what is another's."""

from __future__ import annotations

from typing import Any

import pytest

from consumer.admission import early_cancels
from consumer.admission.early_cancels import MOST_OF_A_TENANT
from consumer.admission.state import EndedRequest, OpenRequest, RequestKey
from tests.consumer.admission.world import (
    NOON_MS,
    TOPICS,
    World,
    canceled,
    failed,
    kinds,
    neighbours,
    released,
    request_id,
    rules,
    started,
    succeeded,
    tenant,
)

ONE, TWO = request_id(1), request_id(2)
TEN_MINUTES_MS = 600_000


@pytest.fixture
def world() -> World:
    return World(rules(tenant(), window=1))


def asked(world: World, name: str = ONE, who: str = "acme") -> OpenRequest:
    found = world.state.requests[RequestKey(who, name)]
    assert isinstance(found, OpenRequest)
    return found


def outstanding(world: World, who: str = "acme") -> int:
    return sum(month.outstanding for month in world.state.account(who).months.values())


def test_what_waits_ends_at_once_and_costs_nothing(world: World) -> None:
    world.take(world.request(1), world.request(2, images=3, metadata={"post": "4711"}))
    said = world.take(world.cancel(9, TWO))
    assert [(m["kind"], m["request_id"]) for m in said] == [
        ("generation.cancel_accepted", TWO),
        ("generation.canceled", TWO),
        ("usage.refunded", TWO),
    ]
    answer, end, refund = said
    assert (answer["cancel_id"], answer["state"]) == (request_id(9), "queued")
    assert (end["cost_milliunits"], end["refunded_milliunits"], end["metadata"]) == (0, 3000, {"post": "4711"})
    assert refund["milliunits"] == 3000
    assert isinstance(world.state.requests[RequestKey("acme", TWO)], EndedRequest)
    assert (world.state.queued, outstanding(world)) == (0, 1000)
    # Nothing of it is sent any more.
    assert kinds(world.take(world.outcome(succeeded(ONE)))) == ["generation.succeeded", "usage.settled"]


def test_what_waits_for_another_attempt_ends_with_a_note(world: World) -> None:
    world.take(world.request(1), world.outcome(failed(ONE, retryable=True)))
    said = world.take(world.cancel(9, ONE))
    assert kinds(said) == ["generation.cancel_accepted", "generation.canceled", "usage.refunded", "control"]
    assert said[3]["min_attempt"] == 2
    assert world.take(now_ms=world.now_ms + 600_000) == []


@pytest.mark.parametrize("runs", [False, True])
def test_what_is_with_the_fleet_gets_a_note(world: World, runs: bool) -> None:
    world.take(world.request(1))
    if runs:
        world.take(world.outcome(started(ONE)))
    answer, note = world.take(world.cancel(9, ONE))
    assert (answer["kind"], answer["state"]) == ("generation.cancel_accepted", "running" if runs else "dispatched")
    assert (note["sent_to"], note["min_attempt"], note["canceled"], note["alone"]) == ("control", 2, True, False)
    assert asked(world).cancel_requested
    assert outstanding(world) == 1000


def test_a_second_cancel_is_accepted_too_and_sends_no_second_note(world: World) -> None:
    world.take(world.request(1), world.cancel(8, ONE))
    (again,) = world.take(world.cancel(9, ONE))
    assert (again["kind"], again["cancel_id"]) == ("generation.cancel_accepted", request_id(9))


def test_answers_to_one_cancel_read_at_two_places_are_two_events(world: World) -> None:
    world.take(world.request(1))
    world.take(world.cancel(9, ONE))
    world.take(world.cancel(9, ONE, topic=TOPICS.rerouted))
    ids = [dict(out.headers)["ce_id"] for out in world.said]
    assert len(ids) == len(set(ids))
    answers = [out for out in world.said if b"cancel_accepted" in (dict(out.headers)["ce_type"] or b"")]
    assert [dict(out.headers)["ce_subject"] for out in answers] == [ONE.encode()] * 2


@pytest.mark.parametrize(
    ("steps_run", "settled"), [(0, 0), (1, 250), (5, 1250), (11, 2750), (12, 3000), (99, 3000), (-1, 0)]
)
def test_the_steps_that_ran_are_settled(world: World, steps_run: int, settled: int) -> None:
    world.take(world.request(1, images=3), world.cancel(9, ONE))
    said = world.take(world.outcome(canceled(ONE, steps_run)))
    assert said[0]["kind"] == "generation.canceled"
    assert (said[0]["cost_milliunits"], said[0]["refunded_milliunits"]) == (settled, 3000 - settled)
    moved = {m["kind"]: m["milliunits"] for m in said if m["sent_to"] == "usage"}
    assert moved.get("usage.settled", 0) == settled
    assert moved.get("usage.refunded", 0) == 3000 - settled
    # The note is out already.
    assert "control" not in kinds(said)
    assert outstanding(world) == 0


def test_a_success_that_was_nearer_counts(world: World) -> None:
    world.take(world.request(1), world.cancel(9, ONE))
    assert kinds(world.take(world.outcome(succeeded(ONE)))) == ["generation.succeeded", "usage.settled"]
    assert world.take(world.outcome(canceled(ONE, 4))) == []


@pytest.mark.parametrize("end", [failed(ONE), failed(ONE, retryable=True), released(ONE)])
def test_whatever_else_happens_to_it_is_its_end(world: World, end: Any) -> None:
    world.take(world.request(1), world.outcome(started(ONE)), world.cancel(9, ONE))
    said = world.take(world.outcome(end))
    assert kinds(said) == ["generation.canceled", "usage.refunded"]
    assert said[0]["cost_milliunits"] == 0
    assert world.take(now_ms=world.now_ms + 600_000) == []


def test_a_start_after_the_cancel_ends_nothing(world: World) -> None:
    world.take(world.request(1), world.cancel(9, ONE))
    assert world.take(world.outcome(started(ONE))) == []
    assert (asked(world).state, asked(world).cancel_requested) == ("running", True)


def test_an_earlier_attempt_that_stopped_ends_nothing(world: World) -> None:
    world.take(world.request(1), world.outcome(failed(ONE, retryable=True)))
    world.take(now_ms=world.now_ms + 2_000)
    world.take(world.cancel(9, ONE))
    assert world.take(world.outcome(canceled(ONE, 4, attempt=1))) == []
    assert kinds(world.take(world.outcome(canceled(ONE, 4, attempt=2)))) == ["generation.canceled", "usage.settled"]


def test_a_worker_that_stops_unasked_ends_nothing(world: World) -> None:
    world.take(world.request(1))
    assert world.take(world.outcome(canceled(ONE))) == []
    assert outstanding(world) == 1000


def test_what_has_ended_stays_as_it_is(world: World) -> None:
    world.take(world.request(1), world.outcome(succeeded(ONE)))
    (said,) = world.take(world.cancel(9, ONE))
    assert (said["kind"], said["state"], said["error"]["code"]) == (
        "generation.cancel_refused",
        "succeeded",
        "already_ended",
    )
    assert (said["request_id"], said["cancel_id"]) == (ONE, request_id(9))


def test_a_request_whose_cancel_came_first_is_accepted_and_ends_at_once(world: World) -> None:
    (answer,) = world.take(world.cancel(9, ONE))
    assert (answer["kind"], answer["state"]) == ("generation.cancel_accepted", "unknown")
    world.restart()
    world.now_ms += TEN_MINUTES_MS - 1
    said = world.take(world.request(1, event_id=ONE))
    assert kinds(said) == ["generation.accepted", "usage.held", "generation.canceled", "usage.refunded"]
    assert said[1]["day"]["outstanding"] == 1000
    assert said[3]["day"]["outstanding"] == 0
    # Its id is bound: no copy of it runs later.
    assert world.take(world.request(1, event_id=ONE))[0]["state"] == "canceled"
    assert world.state.early_cancels.content() == {}


def test_an_early_cancel_is_forgotten_after_ten_minutes(world: World) -> None:
    world.take(world.cancel(9, ONE))
    key = f"early_cancel/acme/{ONE}".encode()
    assert world.ledger[key] is not None
    world.now_ms += TEN_MINUTES_MS
    assert "job.assigned" in kinds(world.take(world.request(1, event_id=ONE)))
    assert world.ledger[key] is None
    assert world.state.early_cancels.content() == {}


def test_a_rejected_request_leaves_its_early_cancel_as_it_is(world: World) -> None:
    world.take(world.cancel(9, ONE))
    assert kinds(world.take(world.request(1, model="none"))) == ["generation.rejected"]
    assert "generation.canceled" in kinds(world.take(world.request(1)))


def test_early_cancels_of_a_tenant_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_OF_A_TENANT == 1_000
    monkeypatch.setattr(early_cancels, "MOST_OF_A_TENANT", 2)
    for number in (1, 2, 3):
        world.now_ms = NOON_MS + number
        world.take(world.cancel(10 + number, request_id(number)))
    assert {key.request_id for key in world.state.early_cancels.content()} == {request_id(2), request_id(3)}
    world.take(world.cancel(20, request_id(2)))
    assert {key.request_id for key in world.state.early_cancels.content()} == {request_id(2), request_id(3)}
    world.restart()
    assert len(world.state.early_cancels.content()) == 2


def test_what_is_not_yours_is_simply_not_known() -> None:
    one, two = neighbours(2)
    world = World(rules(tenant(one), tenant(two)))
    world.take(world.request(1, who=one))
    (said,) = world.take(world.cancel(9, ONE, who=two))
    assert (said["kind"], said["tenant"], said["state"]) == ("generation.cancel_accepted", two, "unknown")
    assert not asked(world, who=one).cancel_requested
    # Nor does it touch the other's request when that comes again.
    assert kinds(world.take(world.request(1, who=one))) == ["generation.duplicate"]


def test_a_suspended_tenant_may_stop_and_no_token_is_taken() -> None:
    world = World(rules(tenant(requests_per_minute=1, burst=1)))
    world.take(world.request(1))
    world.rules = rules(tenant(status="suspended", requests_per_minute=1, burst=1))
    before = world.state.account("acme")
    assert kinds(world.take(world.cancel(9, ONE))) == ["generation.cancel_accepted", "control"]
    assert world.state.account("acme") == before


def test_a_cancel_on_a_foreign_partition_is_rerouted() -> None:
    home = rules(tenant()).partition
    stranger = World(rules(tenant(), partition=(home + 1) % 4))
    stranger.take(stranger.cancel(9, ONE))
    (out,) = stranger.said
    assert (out.topic, out.partition) == (TOPICS.rerouted, home)
    world = World(rules(tenant()))
    world.take(world.request(1))
    said = world.take(world.record(TOPICS.rerouted, out.value, out.headers))
    assert kinds(said) == ["generation.cancel_accepted", "control"]


@pytest.mark.parametrize(
    ("body", "param"),
    [(b"{}", "request_id"), (b'{"request_id": "x"}', "request_id"), (b'{"request_id": "x", "id": 1}', "request_id")],
)
def test_a_malformed_cancel_is_rejected_under_its_own_id(world: World, body: bytes, param: str) -> None:
    (said,) = world.take(world.request(9, kind="easel.generation.cancel_requested.v1", body=body))
    assert (said["kind"], said["request_id"]) == ("generation.rejected", request_id(9))
    assert (said["error"]["code"], said["error"]["param"]) == ("invalid_request", param)


def test_a_cancel_by_a_token_that_is_too_old_is_rejected(world: World) -> None:
    (said,) = world.take(world.cancel(9, ONE, event_id=request_id(9, NOON_MS - 2 * 86_400_000)))
    assert (said["kind"], said["error"]["code"]) == ("generation.rejected", "id_out_of_time")
