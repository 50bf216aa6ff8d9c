"""An accepted request: what is said, what is held, what is remembered, and when it leaves."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from consumer.admission.state import OpenRequest, RequestKey
from schemas.requests import GenerationRequest
from tests.consumer.admission.world import (
    NOON_MS,
    TOPICS,
    World,
    kinds,
    neighbours,
    request_id,
    rules,
    started,
    succeeded,
    tenant,
)

ONE = request_id(1)


@pytest.fixture
def world() -> World:
    return World(rules(tenant()))


def at(seconds: float) -> str:
    return datetime.fromtimestamp(NOON_MS / 1000 + seconds, tz=UTC).isoformat()


def test_an_accepted_request_is_told_held_and_sent(world: World) -> None:
    said = world.take(world.request(1, images=3, seed=7))
    assert [(m["sent_to"], m["kind"]) for m in said] == [
        ("results", "generation.accepted"),
        ("usage", "usage.held"),
        ("jobs.default", "job.assigned"),
    ]
    accepted, held, job = said
    assert (accepted["cost_milliunits"], accepted["position"], accepted["seed"]) == (3000, 0, 7)
    assert held["milliunits"] == 3000
    assert held["day"] == {
        "period": "2026-11-21",
        "held": 3000,
        "settled": 0,
        "refunded": 0,
        "outstanding": 3000,
        "limit": None,
    }
    assert (job["attempt"], job["cost_milliunits"], job["parameters"]["images"]) == (1, 3000, 3)


def test_what_is_accepted_says_what_it_leaves_and_what_it_belongs_to() -> None:
    month = Decimal("10.5")
    world = World(rules(tenant(requests_per_minute=60, burst=5, units_per_day=Decimal(10), units_per_month=month)))
    first = world.take(world.request(1, images=3, group="spring", metadata={"post": "4711"}))[0]
    assert first["limits"] == [
        {"name": "requests_per_minute", "limit": 60, "remaining": 4},
        {"name": "milliunits_per_day", "limit": 10_000, "remaining": 7_000},
        {"name": "milliunits_per_month", "limit": 10_500, "remaining": 7_500},
    ]
    assert (first["group"], first["metadata"]) == ("spring", {"post": "4711"})
    world.now_ms += 1_500
    second = world.take(world.request(2, images=7))[0]
    assert [limit["remaining"] for limit in second["limits"]] == [4, 0, 500]
    assert (second["group"], second["metadata"]) == (None, {})


def test_without_limits_there_is_nothing_left_to_tell(world: World) -> None:
    assert world.take(world.request(1))[0]["limits"] == []


def test_an_answer_has_the_same_id_when_it_is_made_again_and_no_other_answer_has_it() -> None:
    """Also where its place differs in the partition alone, as it does when the tenant has moved to another one."""

    def id_of_answer(**place: Any) -> bytes | None:
        world = World(rules(tenant()))
        world.take(ask := world.request(1))
        assert kinds(world.take(replace(ask, **{"offset": 5, **place}))) == ["generation.duplicate"]
        return dict(world.said[-1].headers)["ce_id"]

    partition = rules(tenant()).partition
    others = {id_of_answer(offset=6), id_of_answer(topic=TOPICS.rerouted), id_of_answer(partition=partition + 1)}
    assert id_of_answer() == id_of_answer()
    assert len(others | {id_of_answer()}) == 4


def test_a_deadline_that_passes_in_the_queue_costs_nothing() -> None:
    world = World(rules(tenant(), window=1))
    world.take(world.request(1), world.request(2, deadline=at(60)), world.request(3, deadline=at(90)))
    assert world.take(now_ms=NOON_MS + 59_999) == []
    said = world.take(now_ms=NOON_MS + 60_000)
    assert [(m["kind"], m["request_id"]) for m in said] == [
        ("generation.failed", request_id(2)),
        ("usage.refunded", request_id(2)),
    ]
    assert said[0]["error"]["code"] == "deadline_exceeded"
    # The third leaves in time, and its deadline is nobody's concern any more.
    assert "job.assigned" in kinds(world.take(world.outcome(succeeded(ONE))))
    assert world.take(now_ms=NOON_MS + 120_000) == []


def test_the_same_id_and_body_is_a_duplicate_in_every_state(world: World) -> None:
    world.take(world.request(1))
    assert world.take(world.request(1))[0]["state"] == "dispatched"
    world.take(world.outcome(started(ONE)))
    assert world.take(world.request(1))[0]["state"] == "running"
    world.take(world.outcome(succeeded(ONE)))
    said = world.take(world.request(1))
    assert (kinds(said), said[0]["state"], said[0]["error"]) == (["generation.duplicate"], "succeeded", None)


def test_the_same_id_with_another_body_is_a_conflict(world: World) -> None:
    world.take(world.request(1))
    said = world.take(world.request(1, prompt="a blue square"))
    assert kinds(said) == ["generation.duplicate"]
    assert said[0]["error"]["code"] == "id_conflict"


def test_after_a_rejection_the_id_may_be_tried_again(world: World) -> None:
    assert kinds(world.take(world.request(1, model="none"))) == ["generation.rejected"]
    assert "generation.accepted" in kinds(world.take(world.request(1)))


def test_jobs_leave_in_order_while_the_window_has_room() -> None:
    world = World(rules(tenant(), window=2))
    said = world.take(*(world.request(number) for number in range(1, 5)))
    assert [m["request_id"] for m in said if m["kind"] == "job.assigned"] == [request_id(1), request_id(2)]
    assert [m["position"] for m in said if m["kind"] == "generation.accepted"] == [0, 0, 0, 1]
    said = world.take(world.outcome(succeeded(request_id(2))))
    assert [m["request_id"] for m in said if m["kind"] == "job.assigned"] == [request_id(3)]


def test_jobs_go_to_the_pool_of_their_model(world: World) -> None:
    said = world.take(world.request(1, model="other"))
    assert (said[2]["sent_to"], said[0]["cost_milliunits"]) == ("jobs.big", 3000)


def test_a_request_on_a_foreign_partition_is_rerouted_with_its_time() -> None:
    home = rules(tenant()).partition
    stranger = World(rules(tenant(), partition=(home + 1) % 4))
    record = stranger.request(1)
    batch_said = stranger.take(record)
    assert [m["sent_to"] for m in batch_said] == ["rerouted"]
    (out,) = stranger.said
    assert (out.partition, out.value) == (home, record.value)

    # Two hours later, by a token that lived one: its first append time counts.
    world = World(rules(tenant()), now_ms=NOON_MS + 7_200_000)
    again = world.record(TOPICS.rerouted, out.value, out.headers)
    assert "generation.accepted" in kinds(world.take(again))


def test_tenants_never_meet_under_one_id() -> None:
    one, two = neighbours(2)
    world = World(rules(tenant(one), tenant(two)))
    world.take(world.request(1, who=one), world.request(1, who=two, prompt="another"))
    assert kinds(world.take(world.outcome(succeeded(ONE, who=one)))) == ["generation.succeeded", "usage.settled"]
    open_one = world.state.requests[RequestKey(two, ONE)]
    assert isinstance(open_one, OpenRequest)


def test_own_topics_get_a_copy() -> None:
    world = World(rules(tenant(), own_topics=frozenset({"acme"})))
    said = world.take(world.request(1))
    assert [m["sent_to"] for m in said if m["kind"] == "generation.accepted"] == ["results", "results.acme"]


def test_the_trace_goes_all_the_way(world: World) -> None:
    trace = ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    record = world.request(1)
    world.take(replace(record, headers=(*record.headers, trace)))
    world.take(world.outcome(succeeded(ONE)))
    assert all(trace in out.headers for out in world.said)
    assert len(world.said) == 5


def test_an_ended_request_is_forgotten_after_its_time(world: World) -> None:
    world.take(world.request(1))
    world.take(world.outcome(succeeded(ONE)))
    end = world.now_ms + 72 * 3_600_000
    world.take(now_ms=end - 1)
    assert RequestKey("acme", ONE) in world.state.requests
    world.take(now_ms=end)
    assert RequestKey("acme", ONE) not in world.state.requests
    assert world.ledger[b"request/acme/" + ONE.encode()] is None


def test_events_made_again_have_the_same_ids(world: World) -> None:
    other = World(rules(tenant()))
    for each in (world, other):
        each.take(each.request(1), each.request(1), each.request(2, model="none"))
    assert [dict(out.headers)["ce_id"] for out in world.said] == [dict(out.headers)["ce_id"] for out in other.said]
    ids = [dict(out.headers)["ce_id"] for out in world.said]
    assert len(ids) == len(set(ids))


def test_two_tenants_that_use_one_request_id_share_no_event_id() -> None:
    ids: dict[str, bytes | None] = {}
    for who in neighbours(2):
        world = World(rules(tenant(who)))
        world.take(world.request(1, who=who, event_id=ONE))
        assert len(world.said) == 3
        ids |= {f"{who} {number}": dict(out.headers)["ce_id"] for number, out in enumerate(world.said)}
    assert len(set(ids.values())) == len(ids) == 6


def test_requests_are_of_the_type_that_publishers_know() -> None:
    assert GenerationRequest.TYPE == "easel.generation.requested.v1"
