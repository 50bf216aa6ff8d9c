"""Pictures that the image check held back: made, so charged; and told in the result, never delivered."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.errors import Code, ErrorBody, ErrorType
from schemas.jobs import JobFailed
from tests.consumer.admission.world import World, failed, request_id, rules, succeeded, tenant

ONE = request_id(1)


@pytest.fixture
def world() -> World:
    return World(rules(tenant()))


def settled(world: World) -> tuple[int, int, int]:
    day = world.state.account("acme").days["2026-11-21"]
    return day.held, day.settled, day.refunded


def content_blocked(*indices: int) -> JobFailed:
    error = ErrorBody(message="no", type=ErrorType.INVALID_REQUEST, code=Code.CONTENT_BLOCKED)
    return failed(ONE).model_copy(update={"error": error, "blocked": list(indices)})


def end(said: list[dict[str, Any]]) -> dict[str, Any]:
    (told,) = [m for m in said if m["kind"].startswith("generation.") and m["sent_to"] == "results"]
    return told


def test_of_several_the_others_are_delivered_and_all_that_were_made_are_charged(world: World) -> None:
    world.take(world.request(1, images=4))
    report = succeeded(ONE, 2).model_copy(update={"blocked": [3]})
    told = end(world.take(world.outcome(report)))
    assert (told["kind"], told["partial"], told["blocked"]) == ("generation.succeeded", True, [3])
    assert len(told["outputs"]) == 2
    assert (told["cost_milliunits"], told["refunded_milliunits"]) == (3000, 1000)
    assert settled(world) == (4000, 3000, 1000)


def test_with_none_left_it_has_failed_and_is_charged(world: World) -> None:
    world.take(world.request(1, images=2))
    told = end(world.take(world.outcome(content_blocked(0, 1))))
    assert (told["kind"], told["error"]["code"]) == ("generation.failed", "content_blocked")
    assert told["blocked"] == [0, 1]
    assert (told["cost_milliunits"], told["refunded_milliunits"]) == (2000, 0)
    assert settled(world) == (2000, 2000, 0)


def test_what_failed_beside_it_is_refunded(world: World) -> None:
    world.take(world.request(1, images=2))
    told = end(world.take(world.outcome(failed(ONE).model_copy(update={"blocked": [1]}))))
    assert (told["error"]["code"], told["blocked"], told["cost_milliunits"]) == ("generation_failed", [1], 1000)
    assert settled(world) == (2000, 1000, 1000)


def test_a_cancel_that_comes_late_does_not_make_it_free(world: World) -> None:
    world.take(world.request(1), world.cancel(2, ONE))
    told = end(world.take(world.outcome(content_blocked(0))))
    assert (told["kind"], told["cost_milliunits"]) == ("generation.canceled", 1000)


def test_more_than_was_asked_for_costs_no_more(world: World) -> None:
    world.take(world.request(1))
    told = end(world.take(world.outcome(succeeded(ONE).model_copy(update={"blocked": [0, 1]}))))
    assert (told["cost_milliunits"], told["refunded_milliunits"]) == (1000, 0)


def test_an_incomplete_result_answers_nobody_else(world: World) -> None:
    world.take(world.request(1, images=2, seed=1))
    world.take(world.outcome(succeeded(ONE).model_copy(update={"blocked": [1]})))
    ended = world.state.requests[next(iter(world.state.requests))]
    assert getattr(ended, "result", None) is None
