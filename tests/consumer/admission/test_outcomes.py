"""What the fleet reports, and what follows for the request and its account."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from consumer.admission import outcomes
from consumer.admission.outcomes import backoff_ms
from consumer.admission.state import EndedRequest, OpenRequest, RequestKey
from tests.consumer.admission.world import (
    TOPICS,
    World,
    broken,
    failed,
    kinds,
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
    assert len(world.state.in_flight) == 0


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
    # Another worker had it too: the note says that nothing of it is wanted any more.
    assert kinds(world.take(world.outcome(succeeded(ONE)))) == ["generation.succeeded", "usage.settled", "control"]
    assert world.take(now_ms=world.now_ms + 60_000) == []


@pytest.mark.parametrize("late", [started(ONE), released(ONE), failed(ONE), failed(ONE, retryable=True)])
def test_what_another_worker_says_of_a_failed_attempt_changes_nothing(world: World, late: Any) -> None:
    world.take(world.request(1))
    world.take(world.outcome(failed(ONE, retryable=True)))
    before = world.state.requests[RequestKey("acme", ONE)]
    assert world.take(world.outcome(late)) == []
    assert world.state.requests[RequestKey("acme", ONE)] == before


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
    assert (request.state, len(request.starts)) == ("dispatched", 1)


def test_a_report_that_is_none_is_a_dead_letter(world: World) -> None:
    request = world.request(1)
    (said,) = world.take(replace(request, topic=TOPICS.outcomes))
    assert (said["sent_to"], said["cause"]["code"]) == ("dead-letters", "unsupported_type")


def test_an_exception_in_an_outcome_ends_its_request(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.take(world.request(1))
    monkeypatch.setattr(outcomes, "end_succeeded", broken)
    said = world.take(world.outcome(succeeded(ONE)))
    assert kinds(said) == ["", "generation.failed", "usage.refunded", "control"]
    assert said[1]["error"]["code"] == "internal_error"
    assert world.state.account("acme").days["2026-11-21"].outstanding == 0
    assert [blamed.tenant for blamed in world.batches[-1].blamed] == ["acme"]
