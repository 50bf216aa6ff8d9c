"""Who leaves for the fleet, how many, and where to: the whole decision, with workers that live, leave and slow down."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from consumer.admission.fairness import AGEING_MS
from consumer.admission.ledger import request_record
from consumer.admission.look_ahead import LOOK_AHEAD
from consumer.admission.state import OpenRequest
from schemas.fleet import HEARD_WITHIN_MS, HeldJob
from tests.consumer.admission.fleets import fleet, peer, worker
from tests.consumer.admission.world import NOON_MS, World, neighbours, request_id, rules, succeeded, tenant

ONE, TWO = neighbours(2)
MINE = peer("me", default_1=1)
"""The fleet was told that this partition is active."""


def world(*names: str, **more: Any) -> World:
    return World(rules(*(tenant(name) for name in names or (ONE,)), partition=1, **more))


def ask(one: World, count: int, *, who: str = ONE, first: int = 1, **fields: Any) -> list[dict[str, Any]]:
    """Requests of a tenant, one batch each; the jobs that left."""
    jobs: list[dict[str, Any]] = []
    for number in range(first, first + count):
        name = request_id(number, one.now_ms)
        jobs += sent(one.take(one.request(who=who, event_id=name, **fields)))
    return jobs


def sent(said: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [message for message in said if message["kind"] == "job.assigned"]


def partitions(one: World) -> list[int | None]:
    return [out.partition for out in one.said if out.topic.startswith("t.jobs")]


class TestHowMuch:
    def test_by_jobs_while_no_worker_is_known(self) -> None:
        one = world(window=3)
        assert len(ask(one, 5)) == 3
        assert one.state.waiting_work == {"default": 2_000}

    def test_twice_the_live_capacity(self) -> None:
        one = world(window=3)
        one.fleet = fleet(worker("a", capacity_milliunits=4_000), worker("b", capacity_milliunits=2_000), MINE)
        assert len(ask(one, 20)) == 12

    def test_one_batch_or_an_equal_part_until_the_fleet_was_told(self) -> None:
        for workers, jobs in ((1, 2), (8, 8)):
            one = world()
            one.fleet = fleet(*(worker(f"w{number}", capacity_milliunits=2_000) for number in range(workers)))
            assert len(ask(one, 20)) == jobs

    def test_shared_by_active_weight(self) -> None:
        one = world(window=3)
        one.fleet = fleet(
            *(worker(f"w{number}", capacity_milliunits=2_000) for number in range(10)),
            peer("p", default_0=2, default_2=1, default_1=1),
        )
        assert len(ask(one, 30)) == 10

    def test_what_is_stuck_takes_up_no_room_for_long(self) -> None:
        one = world()
        reports = {"capacity_milliunits": 2_000, "rate_milliunits_s": 1_000}
        one.fleet = fleet(worker("a", **reports), worker("b", **reports), MINE)
        assert len(ask(one, 20)) == 8
        # A window takes 4 s, and four times as long is too long.
        for later_ms, more in ((16_000, 0), (1, 8)):
            one.now_ms += later_ms
            one.fleet = fleet(
                worker("a", at_ms=one.now_ms, **reports),
                worker("b", at_ms=one.now_ms, **reports),
                peer("me", at_ms=one.now_ms, default_1=1),
            )
            assert len(sent(one.take())) == more

    def test_who_is_silent_loses_its_share(self) -> None:
        one = world(window=3)
        one.fleet = fleet(
            worker("a", capacity_milliunits=4_000),
            worker("b", capacity_milliunits=4_000, at_ms=NOON_MS - HEARD_WITHIN_MS),
            MINE,
            peer("p", default_0=9, at_ms=NOON_MS - HEARD_WITHIN_MS),
        )
        assert len(ask(one, 20)) == 8

    def test_a_pool_without_room_holds_up_no_other(self) -> None:
        one = world(window=2)
        assert len(ask(one, 4, model="other", images=1)) == 2
        assert len(ask(one, 4, first=9, model="m")) == 2

    def test_a_tenant_of_a_fast_pool_has_no_less_of_a_slow_one(self) -> None:
        """Turns are counted a pool: what a tenant got of one costs it nothing in another, nor whoever comes new."""
        one = world(ONE, TWO, window=1)
        ask(one, 4, model="other")
        for number in range(50, 60):
            (job,) = ask(one, 1, first=number)
            one.take(one.outcome(succeeded(job["request_id"], who=ONE)))
        ask(one, 1, first=90, who=TWO, model="other")
        (job,) = sent(one.take(one.outcome(succeeded(request_id(1), who=ONE))))
        assert job["tenant"] == TWO

    def test_a_draining_pool_gets_nothing_new(self) -> None:
        one = world(window=2)
        (first,) = ask(one, 1)
        files = one.rules
        draining = files.catalog.model_copy(update={"draining": ["default"]})
        one.rules = replace(files, catalog=draining)
        assert ask(one, 3, first=5) == []
        assert sent(one.take(one.outcome(succeeded(first["request_id"], who=ONE)))) == []
        assert one.state.queued == 3
        one.rules = files
        assert len(sent(one.take())) == 2


class TestWhere:
    def test_the_shortest_queue_by_reports_and_by_what_was_sent(self) -> None:
        one = world()
        one.fleet = fleet(
            worker("a", capacity_milliunits=9_000, rate_milliunits_s=1_000, partitions=[0]),
            worker("b", capacity_milliunits=9_000, rate_milliunits_s=1_000, partitions=[3], backlog_milliunits=2_500),
            MINE,
        )
        ask(one, 6)
        # a until it has more than b's 2.5 s, then in turn.
        assert partitions(one) == [0, 0, 0, 3, 0, 3]

    def test_a_report_that_names_a_job_counts_it_itself(self) -> None:
        one = world()
        reports = {"capacity_milliunits": 9_000, "rate_milliunits_s": 1_000}
        one.fleet = fleet(worker("a", partitions=[0], **reports), worker("b", partitions=[3], **reports))
        (first,) = ask(one, 1)
        chosen = {0: "a", 3: "b"}[partitions(one)[0] or 0]
        held = [HeldJob(ONE, first["request_id"], 1, "ended")]
        one.fleet = fleet(
            worker("a", partitions=[0], held=held if chosen == "a" else [], **reports),
            worker("b", partitions=[3], held=held if chosen == "b" else [], **reports),
        )
        ask(one, 1, first=2)
        assert partitions(one)[0] == partitions(one)[1]

    def test_who_slows_down_gets_less(self) -> None:
        one = world()
        one.fleet = fleet(
            worker("fast", capacity_milliunits=30_000, rate_milliunits_s=9_000, partitions=[0]),
            worker("slow", capacity_milliunits=30_000, rate_milliunits_s=1_000, partitions=[3]),
            MINE,
        )
        ask(one, 40)
        assert 3 <= partitions(one).count(3) <= 5

    def test_nothing_for_who_is_leaving_or_not_ready(self) -> None:
        one = world()
        one.fleet = fleet(
            worker("a", partitions=[0], draining=True),
            worker("b", partitions=[1], ready=False),
            worker("c", partitions=[2], backlog_milliunits=10**9),
        )
        ask(one, 4)
        assert set(partitions(one)) == {2}

    def test_where_it_went_is_in_the_ledger(self) -> None:
        one = world()
        one.fleet = fleet(worker("a"))
        ask(one, 1)
        (request,) = one.state.requests.values()
        assert isinstance(request, OpenRequest)
        assert request.worker == "a"
        assert b'"worker":"a"' in (request_record("t", 1, request.key, request).value or b"")


class TestLookAhead:
    """Models ``m`` and ``warm`` in one pool; the worker has the second one loaded."""

    def world(self) -> World:
        one = world(window=1)
        cards = dict(one.rules.catalog.models)
        files = one.rules.catalog.model_copy(update={"models": {**cards, "warm": cards["m"]}})
        one.rules = replace(one.rules, catalog=files)
        return one

    def opened(self, one: World, capacity: int) -> list[str]:
        """What leaves in which order, once a worker is there that takes one after the other."""
        order: list[str] = []
        one.fleet = fleet(worker("a", at_ms=one.now_ms, models={"warm": "r"}, capacity_milliunits=capacity))
        said = one.take(one.outcome(succeeded(request_id(0), who=ONE)))
        while jobs := sent(said):
            order += [job["parameters"]["model"] for job in jobs]
            said = []
            for job in jobs:
                said += one.take(one.outcome(succeeded(job["request_id"], who=ONE)))
        return order

    def queue(self, one: World, models: str, **fields: Any) -> None:
        """One that runs, and these behind it: ``w`` warm, ``c`` cold."""
        ask(one, 1, first=0, model="warm")
        for number, letter in enumerate(models, start=1):
            ask(one, 1, first=number, model={"w": "warm", "c": "m"}[letter], **fields)

    def first_cold(self, models: str, capacity: int, **fields: Any) -> int:
        """How many warm ones pass the first cold one."""
        one = self.world()
        self.queue(one, models, **fields)
        return self.opened(one, capacity).index("m")

    def test_the_warm_one_first_within_one_batch(self) -> None:
        assert self.first_cold("c" + "w" * 20, 4_000) == 4
        assert self.first_cold("c" + "w" * 20, 9_000) == 9
        assert self.first_cold("w" * 3 + "c" + "w" * 9, 4_000) == 7

    def test_nothing_passes_while_no_batch_is_known(self) -> None:
        assert self.first_cold("cww", 0) == 0

    def test_nothing_of_another_priority_passes(self) -> None:
        one = self.world()
        ask(one, 1, first=0, model="warm")
        ask(one, 1, first=1, model="m", priority="high")
        ask(one, 3, first=2, model="warm")
        assert self.opened(one, 8_000)[0] == "m"

    def test_nothing_passes_beyond_the_ageing_bound(self) -> None:
        for later, passed in ((2 * AGEING_MS, 1), (2 * AGEING_MS + 1, 0)):
            one = self.world()
            self.queue(one, "c")
            one.now_ms += later
            ask(one, 1, first=5, model="warm")
            assert self.opened(one, 8_000).index("m") == passed

    def test_only_the_first_few_are_looked_at(self) -> None:
        assert self.first_cold("c" * (LOOK_AHEAD - 1) + "w", 10**6) == 1
        assert self.first_cold("c" * LOOK_AHEAD + "w", 10**6) == 0
