"""Each decision, with its code: what is said, what is held, what is remembered."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from consumer.admission import intake, outcomes, quota
from consumer.admission.outcomes import backoff_ms
from consumer.admission.state import EndedRequest, OpenRequest, RequestKey
from schemas.requests import GenerationRequest
from tests.consumer.admission.world import (
    NOON_MS,
    TOPICS,
    World,
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

ONE = request_id(1)


@pytest.fixture
def world() -> World:
    return World(rules(tenant()))


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


def test_success_settles_and_ends(world: World) -> None:
    world.take(world.request(1))
    world.take(world.outcome(started(ONE)))
    said = world.take(world.outcome(succeeded(ONE)))
    assert kinds(said) == ["generation.succeeded", "usage.settled"]
    assert (said[0]["cost_milliunits"], said[0]["refunded_milliunits"], said[0]["partial"]) == (1000, 0, False)
    assert said[1]["month"] == {
        "period": "2026-11",
        "held": 1000,
        "settled": 1000,
        "refunded": 0,
        "outstanding": 0,
        "limit": None,
    }
    assert isinstance(world.state.requests[RequestKey("acme", ONE)], EndedRequest)
    assert world.state.in_flight == 0


def test_a_partial_delivery_settles_what_was_delivered(world: World) -> None:
    world.take(world.request(1, images=3))
    said = world.take(world.outcome(succeeded(ONE, pictures=2)))
    assert kinds(said) == ["generation.succeeded", "usage.settled", "usage.refunded"]
    assert said[0]["partial"] is True
    assert (said[1]["milliunits"], said[2]["milliunits"]) == (2000, 1000)
    assert said[2]["day"]["outstanding"] == 0


def test_a_failure_refunds_everything(world: World) -> None:
    world.take(world.request(1, metadata={"post": "4711"}))
    said = world.take(world.outcome(failed(ONE)))
    assert kinds(said) == ["generation.failed", "usage.refunded"]
    assert said[0]["error"]["code"] == "generation_failed"
    assert said[0]["metadata"] == {"post": "4711"}
    assert said[1]["milliunits"] == 1000


def test_the_first_success_wins_whatever_its_attempt(world: World) -> None:
    world.take(world.request(1))
    key = RequestKey("acme", ONE)
    request = world.state.requests[key]
    assert isinstance(request, OpenRequest)
    world.state.put(key, replace(request, attempt=2))
    assert kinds(world.take(world.outcome(failed(ONE, attempt=1)))) == []
    said = world.take(world.outcome(succeeded(ONE, attempt=1)))
    assert kinds(said) == ["generation.succeeded", "usage.settled", "control"]
    assert said[2]["min_attempt"] == 3
    assert kinds(world.take(world.outcome(succeeded(ONE, attempt=2)))) == []


def test_a_failure_that_may_pass_is_tried_again_after_a_while(world: World) -> None:
    world.take(world.request(1))
    for attempt in (1, 2):
        assert world.take(world.outcome(failed(ONE, attempt=attempt, retryable=True))) == []
        wait_ms = backoff_ms(ONE, attempt)
        assert 2**attempt * 500 <= wait_ms <= 2**attempt * 1000
        assert world.take(now_ms=world.now_ms + wait_ms - 1) == []
        world.now_ms += wait_ms
        (job,) = world.take()
        assert (job["kind"], job["attempt"]) == ("job.assigned", attempt + 1)
    said = world.take(world.outcome(failed(ONE, attempt=3, retryable=True)))
    assert kinds(said) == ["generation.failed", "usage.refunded"]
    assert said[0]["attempt"] == 3


def test_a_late_success_of_an_earlier_attempt_ends_a_request_that_waits_again(world: World) -> None:
    world.take(world.request(1))
    world.take(world.outcome(failed(ONE, retryable=True)))
    assert kinds(world.take(world.outcome(succeeded(ONE)))) == ["generation.succeeded", "usage.settled"]
    assert world.take(now_ms=world.now_ms + 60_000) == []


@pytest.mark.parametrize("late", [started(ONE), released(ONE), failed(ONE), failed(ONE, retryable=True)])
def test_what_another_worker_says_of_a_failed_attempt_changes_nothing(world: World, late: Any) -> None:
    world.take(world.request(1))
    world.take(world.outcome(failed(ONE, retryable=True)))
    before = world.state.requests[RequestKey("acme", ONE)]
    assert world.take(world.outcome(late)) == []
    assert world.state.requests[RequestKey("acme", ONE)] == before


def at(seconds: float) -> str:
    return datetime.fromtimestamp(NOON_MS / 1000 + seconds, tz=UTC).isoformat()


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


def test_a_deadline_that_has_passed_is_rejected(world: World) -> None:
    (said,) = world.take(world.request(1, deadline=at(0)))
    assert (said["kind"], said["error"]["code"]) == ("generation.rejected", "deadline_exceeded")


@pytest.mark.parametrize("again", [succeeded(ONE), failed(ONE), started(ONE), released(ONE)])
def test_nothing_happens_after_the_end(world: World, again: Any) -> None:
    world.take(world.request(1))
    world.take(world.outcome(succeeded(ONE)))
    before = world.state.account("acme")
    assert world.take(world.outcome(again)) == []
    assert world.state.account("acme") == before


def test_starts_are_counted_and_a_release_uncounts(world: World) -> None:
    world.take(world.request(1))
    world.take(world.outcome(started(ONE)), world.outcome(started(ONE)), world.outcome(released(ONE)))
    request = world.state.requests[RequestKey("acme", ONE)]
    assert isinstance(request, OpenRequest)
    assert (request.state, request.starts) == ("dispatched", 1)


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


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"model": "none"}, "model_not_found", "model"),
        ({"width": 65}, "limit_exceeded", "width"),
        ({"steps": 51}, "limit_exceeded", "steps"),
        ({"images": 11}, "invalid_request", "images"),
        ({"prompt": "  "}, "invalid_request", "prompt"),
        ({"colour": "red"}, "invalid_request", "colour"),
        ({"style": "oil"}, "limit_exceeded", "style"),
        ({"source_image": "outputs/acme/x"}, "limit_exceeded", "source_image"),
    ],
)
def test_what_can_not_be_made_is_rejected_by_name(world: World, fields: dict[str, Any], code: str, param: str) -> None:
    (said,) = world.take(world.request(1, **fields))
    assert (said["kind"], said["error"]["code"], said["error"]["param"]) == ("generation.rejected", code, param)
    assert world.state.requests == {}


def test_a_body_that_is_no_json_is_rejected(world: World) -> None:
    (said,) = world.take(world.request(1, body=b"{"))
    assert (said["kind"], said["error"]["code"]) == ("generation.rejected", "invalid_request")


def test_an_id_that_is_out_of_time_is_rejected(world: World) -> None:
    (said,) = world.take(world.request(1, event_id=request_id(1, NOON_MS - 2 * 86_400_000)))
    assert (said["kind"], said["error"]["code"]) == ("generation.rejected", "id_out_of_time")


def test_another_type_is_rejected(world: World) -> None:
    (said,) = world.take(world.request(1, kind="easel.generation.wished.v1"))
    assert (said["kind"], said["error"]["code"], said["error"]["param"]) == (
        "generation.rejected",
        "unsupported_type",
        "ce_type",
    )


@pytest.mark.parametrize(
    ("who", "fields", "code"),
    [
        (tenant(status="suspended"), {}, "tenant_suspended"),
        (tenant(models=["other"]), {}, "model_not_allowed"),
        (tenant(images=2), {"images": 3}, "limit_exceeded"),
        (tenant(pixels=512 * 512), {"width": 576}, "limit_exceeded"),
        (tenant(steps=3), {}, "limit_exceeded"),
    ],
)
def test_what_the_tenant_may_not_is_rejected(who: Any, fields: dict[str, Any], code: str) -> None:
    (said,) = World(rules(who)).take(World(rules(who)).request(1, **fields))
    assert (said["kind"], said["error"]["code"]) == ("generation.rejected", code)


def test_over_the_rate(world: World) -> None:
    world = World(rules(tenant(requests_per_minute=60, burst=1)))
    said = world.take(world.request(1), world.request(2))
    assert said[-1]["error"]["code"] == "rate_limited"
    assert (said[-1]["retry_after_s"], said[-1]["limit"]) == (
        1.0,
        {"name": "requests_per_minute", "limit": 60, "remaining": 0},
    )


def test_over_the_budget_takes_a_token_and_holds_nothing() -> None:
    world = World(rules(tenant(requests_per_minute=60, burst=2, units_per_day=Decimal("1.5"))))
    said = world.take(world.request(1), world.request(2), world.request(3))
    assert [m["error"]["code"] for m in said if m["kind"] == "generation.rejected"] == [
        "budget_day_exceeded",
        "rate_limited",
    ]
    assert world.state.account("acme").days["2026-11-21"].held == 1000


def test_a_full_queue() -> None:
    world = World(rules(tenant(queued=2), window=1))
    said = world.take(*(world.request(number) for number in range(1, 5)))
    # The first leaves at once; two wait; there is no room for the fourth.
    assert [m["kind"] for m in said if m["sent_to"] == "results"] == [
        *["generation.accepted"] * 3,
        "generation.rejected",
    ]
    assert said[-1]["error"]["code"] == "queue_full"
    assert said[-1]["limit"] == {"name": "queued", "limit": 2, "remaining": 0}


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


def test_a_time_header_counts_on_the_rerouted_topic_alone(world: World) -> None:
    late = World(rules(tenant()), now_ms=NOON_MS + 7_200_000)
    record = late.request(1, at_ms=NOON_MS)
    forged = replace(record, headers=(*record.headers, (intake.APPENDED_HEADER, str(NOON_MS).encode())))
    (said,) = late.take(forged)
    assert (said["sent_to"], said["cause"]["code"]) == ("dead-letters", "token_expired")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"value": b"{}"}, "body_mismatch"),
        ({"value": None}, "envelope_invalid"),
        ({"headers": ()}, "envelope_invalid"),
        ({"timestamp_ms": NOON_MS + 3_600_000}, "token_expired"),
    ],
)
def test_what_no_tenant_stands_behind_is_a_dead_letter(world: World, change: dict[str, Any], code: str) -> None:
    record = replace(world.request(1), key=b"acme", **change)
    (said,) = world.take(record)
    assert (said["sent_to"], said["cause"]["code"]) == ("dead-letters", code)
    assert (said["topic"], said["offset"], said["stage"]) == (TOPICS.requests, 0, "admission")
    assert world.state.requests == {}


def test_a_malformed_id_is_a_dead_letter(world: World) -> None:
    (said,) = world.take(world.request(1, event_id="not-a-uuid"))
    assert said["cause"]["code"] == "id_invalid"


def test_a_dead_letter_holds_the_record_whole(world: World) -> None:
    record = replace(world.request(1), value=b"\x00\xff" * 1000)
    (said,) = world.take(record)
    assert base64.b64decode(said["value_base64"]) == record.value
    assert tuple((name, base64.b64decode(value)) for name, value in said["headers"]) == record.headers
    assert said["truncated"] is False
    huge = replace(world.request(2), value=b"x" * (1024 * 1024 + 1))
    (said,) = world.take(huge)
    assert (said["truncated"], len(base64.b64decode(said["value_base64"])), said["value_bytes"]) == (
        True,
        4096,
        1024 * 1024 + 1,
    )


def test_a_report_that_is_none_is_a_dead_letter(world: World) -> None:
    request = world.request(1)
    (said,) = world.take(replace(request, topic=TOPICS.outcomes))
    assert (said["sent_to"], said["cause"]["code"]) == ("dead-letters", "unsupported_type")


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


WHAT_A_TENANT_WROTE = "a bug"


def _broken(*_: Any, **__: Any) -> Any:
    raise RuntimeError(WHAT_A_TENANT_WROTE)


def test_an_exception_is_the_records_own(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole or not at all: nothing of it is kept, its tenant is told, and the rest of the batch goes on."""
    monkeypatch.setattr(quota, "periods_of", _broken)
    said = world.take(world.request(1))
    monkeypatch.undo()
    assert kinds(said) == ["", "generation.rejected"]
    assert said[1]["error"]["code"] == "internal_error"
    assert (world.state.requests, world.state.accounts, world.state.queued) == ({}, {}, 0)
    assert [blamed.tenant for blamed in world.batches[-1].blamed] == ["acme"]
    assert WHAT_A_TENANT_WROTE not in str(said)
    where = world.batches[-1].blamed[0].where
    assert "_broken" in where
    assert WHAT_A_TENANT_WROTE not in where
    assert "generation.accepted" in kinds(world.take(world.request(1)))


def test_an_exception_in_an_outcome_ends_its_request(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.take(world.request(1))
    monkeypatch.setattr(outcomes, "_succeeded", _broken)
    said = world.take(world.outcome(succeeded(ONE)))
    assert kinds(said) == ["", "generation.failed", "usage.refunded"]
    assert said[1]["error"]["code"] == "internal_error"
    assert world.state.account("acme").days["2026-11-21"].outstanding == 0
    assert [blamed.tenant for blamed in world.batches[-1].blamed] == ["acme"]


def test_requests_are_of_the_type_that_publishers_know() -> None:
    assert GenerationRequest.TYPE == "easel.generation.requested.v1"
