"""A delete goes to a worker once its request has ended, and everyone who asked is told when it is done."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from consumer.admission.deletions import MOST_OF_A_REQUEST, MOST_OF_A_TENANT
from consumer.admission.fleet_view import Fleet, Heard
from consumer.admission.keys import RequestKey
from consumer.admission.state import OpenRequest
from schemas.fleet import HEARD_WITHIN_MS, Heartbeat
from schemas.ids import DAY_MS
from schemas.jobs import JobDeleted
from schemas.requests import DeleteRequest
from tests.consumer.admission.world import (
    NOON_MS,
    World,
    failed,
    fleet_of,
    kinds,
    neighbours,
    request_id,
    rules,
    started,
    succeeded,
    tenant,
    told,
)
from transport.records import Record

ONE = request_id(1)
KEY = RequestKey("acme", ONE)
HOUR_MS = 3_600_000
LEASE_MS = 60_000


@pytest.fixture
def world() -> World:
    """One request that has succeeded, and a worker that lives."""
    world = World(rules(tenant()), fleet=fleet_of(NOON_MS, w={"m": "r"}))
    world.take(world.request(1, seed=7))
    world.take(world.outcome(succeeded(ONE)))
    return world


def wish(world: World, number: int = 100, target: str = ONE, **more: Any) -> Record:
    """A delete, whose own id is that of ``number``."""
    body = DeleteRequest(request_id=target).model_dump_json().encode()
    return world.request(number, kind=DeleteRequest.TYPE, body=body, **more)


def done(number: int = 100, *, objects: int = 2, attempt: int = 1, target: str = ONE, who: str = "acme") -> JobDeleted:
    return JobDeleted(
        tenant=who,
        request_id=target,
        attempt=attempt,
        worker="w",
        delete_id=request_id(number),
        objects=objects,
    )


def refused(said: list[dict[str, Any]]) -> tuple[str, str, str]:
    (answer,) = said
    assert answer["kind"] == "generation.delete_refused"
    return answer["state"], answer["error"]["code"], answer["delete_id"]


def test_it_goes_to_a_worker_and_its_report_is_the_answer(world: World) -> None:
    note, job = world.take(wish(world))
    assert (job["sent_to"], job["kind"], job["request_id"], job["attempt"]) == (
        "jobs.default",
        "job.delete_assigned",
        ONE,
        1,
    )
    # Whatever copy of its job is still on the way is not run any more: it would put the pictures back.
    assert (note["kind"], note["min_attempt"] > 100, note["canceled"]) == ("control", True, False)
    (answer,) = world.take(world.outcome(done()))
    assert answer == {
        "sent_to": "results",
        "kind": "generation.deleted",
        "tenant": "acme",
        "request_id": ONE,
        "delete_id": request_id(100),
        "objects": 2,
    }
    assert world.take(world.outcome(done())) == []
    assert world.ledger[b"delete/acme/" + ONE.encode()] is None


def test_its_request_stays_known_and_costs_what_it_cost(world: World) -> None:
    before = world.state.account("acme")
    world.take(wish(world))
    world.take(world.outcome(done()))
    (said,) = world.take(world.request(1, seed=7))
    assert (said["kind"], said["state"]) == ("generation.duplicate", "succeeded")
    assert world.state.account("acme") == before


def test_its_result_answers_nobody_from_that_moment_on(world: World) -> None:
    said = world.take(wish(world), world.request(2, seed=7))
    assert kinds(said)[-1] == "job.assigned"
    world.restart()
    assert kinds(world.take(world.request(3, seed=7)))[-1] == "job.assigned"


def test_an_open_request_is_canceled_first(world: World) -> None:
    world.take(world.request(2))
    assert refused(world.take(wish(world, 100, request_id(2)))) == ("dispatched", "not_ended", request_id(100))
    world.take(world.outcome(started(request_id(2))))
    assert refused(world.take(wish(world, 101, request_id(2)))) == ("running", "not_ended", request_id(101))
    assert isinstance(world.state.requests[RequestKey("acme", request_id(2))], OpenRequest)


def test_also_one_that_failed_may_have_left_something(world: World) -> None:
    world.take(world.request(2))
    world.take(world.outcome(failed(request_id(2))))
    assert "job.delete_assigned" in kinds(world.take(wish(world, 100, request_id(2))))


def test_an_id_that_would_be_known_is_not_found(world: World) -> None:
    assert refused(world.take(wish(world, 100, request_id(9)))) == ("unknown", "not_found", request_id(100))
    tomorrow = request_id(9, NOON_MS + 300 * DAY_MS)
    assert refused(world.take(wish(world, 101, tomorrow)))[1] == "not_found"


@pytest.mark.parametrize(("age_ms", "sent"), [(48 * HOUR_MS - 1, False), (48 * HOUR_MS, True), (900 * DAY_MS, True)])
def test_an_older_one_is_looked_for_in_the_store(world: World, age_ms: int, sent: bool) -> None:
    """Accepted up to a day before the time in its id, and remembered for 72 hours: after 48 nobody can be sure."""
    old = request_id(9, NOON_MS - age_ms)
    said = world.take(wish(world, 100, old))
    assert (kinds(said) == ["job.delete_assigned"]) is sent
    if sent:
        assert kinds(world.take(world.outcome(done(objects=0, target=old)))) == ["generation.deleted"]


def test_of_another_tenants_request_it_knows_nothing() -> None:
    one, two = neighbours(2)
    world = World(rules(tenant(one), tenant(two)))
    world.take(world.request(1, who=one))
    world.take(world.outcome(succeeded(ONE, who=one)))
    assert refused(world.take(wish(world, who=two)))[:2] == ("unknown", "not_found")


def test_who_is_suspended_may_still_delete(world: World) -> None:
    world.rules = replace(world.rules, directory=rules(tenant(status="suspended")).directory)
    assert "job.delete_assigned" in kinds(world.take(wish(world)))


@pytest.mark.parametrize("target", ["x", "0190a4d2-6c00-4000-8000-000000000001", ONE.upper(), ""])
def test_a_target_that_is_no_id_is_rejected(world: World, target: str) -> None:
    body = b'{"request_id": "%s"}' % target.encode()
    (said,) = world.take(world.request(100, kind=DeleteRequest.TYPE, body=body))
    assert (said["kind"], said["error"]["code"], said["error"]["param"]) == (
        "generation.rejected",
        "invalid_request",
        "request_id",
    )


def test_each_who_asked_while_it_was_out_is_told_once(world: World) -> None:
    world.take(wish(world, 100))
    assert world.take(wish(world, 101), wish(world, 100), wish(world, 101)) == []
    world.restart()
    said = world.take(world.outcome(done()))
    assert [m["delete_id"] for m in said] == [request_id(100), request_id(101)]
    assert len({dict(out.headers)["ce_id"] for out in world.said[-2:]}) == 2


def test_a_delete_after_the_answer_is_another_one(world: World) -> None:
    world.take(wish(world, 100))
    world.take(world.outcome(done()))
    world.take(wish(world, 101))
    assert world.take(world.outcome(done(100))) == []
    assert kinds(world.take(world.outcome(done(101, objects=0)))) == ["generation.deleted"]


def test_how_many_may_ask_for_one_is_bounded(world: World) -> None:
    world.take(*(wish(world, 100 + number) for number in range(MOST_OF_A_REQUEST)))
    assert refused(world.take(wish(world, 200)))[1] == "queue_full"
    # Those that asked are asked for nothing more.
    assert world.take(wish(world, 100)) == []
    assert len(world.take(world.outcome(done()))) == MOST_OF_A_REQUEST


def test_how_many_are_out_of_a_tenant_is_bounded(world: World) -> None:
    old = [request_id(number, NOON_MS - 100 * DAY_MS) for number in range(MOST_OF_A_TENANT + 1)]
    said = world.take(*(wish(world, 5000 + number, target) for number, target in enumerate(old)))
    assert kinds(said) == ["job.delete_assigned"] * MOST_OF_A_TENANT + ["generation.delete_refused"]
    world.take(world.outcome(done(5000, target=old[0])))
    assert kinds(world.take(wish(world, 9000, old[-1]))) == ["job.delete_assigned"]


class TestLease:
    """What nobody reports is sent again, as the next attempt."""

    def test_after_its_time_while_somebody_lives(self, world: World) -> None:
        world.take(wish(world))
        world.restart()
        world.now_ms = NOON_MS + LEASE_MS - 1
        world.fleet = fleet_of(world.now_ms, w={})
        assert world.take() == []
        world.now_ms += 1
        (job,) = world.take()
        assert (job["kind"], job["attempt"], job["delete_id"]) == ("job.delete_assigned", 2, request_id(100))
        assert world.take() == []
        # The first attempt's report will do.
        assert kinds(world.take(world.outcome(done(attempt=1)))) == ["generation.deleted"]
        world.now_ms += LEASE_MS
        world.fleet = fleet_of(world.now_ms, w={})
        assert world.take() == []

    def test_not_while_nobody_lives(self, world: World) -> None:
        world.take(wish(world))
        world.fleet = fleet_of(NOON_MS, w={})
        world.now_ms = NOON_MS + 10 * LEASE_MS
        assert world.now_ms > NOON_MS + HEARD_WITHIN_MS
        assert world.take() == []
        world.fleet = fleet_of(world.now_ms, w={})
        assert kinds(world.take()) == ["job.delete_assigned"]

    def test_another_worker_gets_it_then(self, world: World) -> None:
        def alive() -> Fleet:
            beat = Heartbeat(instance="", stage="generation", pool="default", ready=True)
            return Fleet(
                {
                    name: Heard(beat.model_copy(update={"instance": name, "partitions": parts}), world.now_ms)
                    for name, parts in {"v": [0, 1], "w": [2, 3]}.items()
                }
            )

        world.fleet = alive()
        world.take(wish(world))
        world.now_ms += LEASE_MS
        world.fleet = alive()
        world.take()
        first, second = (out.partition for out in world.said if told(out)["kind"] == "job.delete_assigned")
        assert first is not None
        assert second is not None
        assert first // 2 != second // 2

    def test_a_pool_that_nobody_serves_is_passed_over(self, world: World) -> None:
        beat = Heartbeat(instance="w", stage="generation", pool="default", ready=True, partitions=[3])
        world.rules = rules(tenant())
        other = beat.model_copy(update={"instance": "v", "pool": "big"})
        world.fleet = Fleet({"v": Heard(other, NOON_MS)})
        said = world.take(wish(world))
        assert said[-1]["sent_to"] == "jobs.big"
        assert world.said[-1].partition == 3


def test_memory_and_ledger_say_the_same(world: World) -> None:
    world.take(wish(world, 100), wish(world, 101))
    before = world.state
    world.restart()
    assert world.state.deletions.content() == before.deletions.content()
    assert world.state.requests == before.requests
    assert world.state.deletions.of("acme") == 1
