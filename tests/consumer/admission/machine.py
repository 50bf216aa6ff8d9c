"""A partition and its model side by side: each step is taken by both, and what they say is compared."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant

from consumer.admission.fleet_view import Fleet, Heard
from consumer.admission.state import OpenRequest
from schemas.fleet import Heartbeat, HeldJob
from tests.consumer.admission.model import (
    ATTEMPTS,
    BURST,
    DAY_MILLIUNITS,
    HEARD_WITHIN_MS,
    LEASE_MS,
    PER_MINUTE,
    QUEUED,
    TENANTS,
    WEIGHTS,
    WINDOW,
    Model,
)
from tests.consumer.admission.world import (
    World,
    catalog,
    rules,
    tenant,
)
from transport.records import Record

WORKERS = ["a", "b", "c"]
TERMINAL = ("generation.succeeded", "generation.failed", "generation.canceled")
LIMITS: dict[str, Any] = {
    "requests_per_minute": PER_MINUTE,
    "burst": BURST,
    "units_per_day": Decimal(DAY_MILLIUNITS) / 1000,
    "queued": QUEUED,
}


class SideBySide(RuleBasedStateMachine):
    """What every step does; the steps themselves are in ``test_model``."""

    @initialize()
    def begin(self) -> None:
        members = (tenant(name, weight=WEIGHTS[name], **LIMITS) for name in TENANTS)
        self.world = World(rules(*members, partition=1, window=WINDOW, lease_ms=LEASE_MS))
        assert catalog().card("m").attempts == ATTEMPTS
        self.model = Model()
        self.terminal: Counter[tuple[str, str]] = Counter()
        self.usage: Counter[tuple[str, str]] = Counter()
        self.balances: dict[tuple[str, str], Counter[str]] = {}
        self.numbers = 0
        self.alive = {"a"}
        self.named: set[str] = set()

    # one step: what the model expects is put into it first, then the real thing is done and held against it

    def step(self, *records: Record) -> list[dict[str, Any]]:
        now = self.world.now_ms
        self.model.wake(now)
        said = self.world.take(*records)
        assert self.world.batches[-1].blamed == []
        self._take_in_lapses(said, now)
        self.model.send(now)
        told = [(m["request_id"], m["min_attempt"], m["canceled"], m["alone"]) for m in said if m["kind"] == "control"]
        assert sorted(told) == sorted(self.model.notes)
        self.model.notes.clear()
        for one in said:
            if one["kind"] in TERMINAL:
                self.terminal[one["tenant"], one["request_id"]] += 1
                known = self.model.of(one["tenant"], one["request_id"])
                assert known is not None
                assert (f"generation.{known.end}", known.settled) == (one["kind"], one["cost_milliunits"])
            if one["kind"] == "job.assigned":
                known = self.model.of(one["tenant"], one["request_id"])
                assert known is not None
                assert (known.attempt, known.alone) == (one["attempt"], one["alone"])
            if one["sent_to"] == "usage":
                self._post(one)
        for asked in self.model.asked:
            if asked.end is not None and asked.ended_ms is None:
                asked.ended_ms = now
        for job in self.model.with_the_fleet():
            self.model.hear(job, self._beaten_ms() if job.name in self.named else None, now)
        return said

    def _take_in_lapses(self, said: list[dict[str, Any]], now: int) -> None:
        """What the real thing did by itself: sent again, or ended, what the model holds to be out."""
        alive = self.alive if self._beaten_ms() + HEARD_WITHIN_MS > now else set()
        for one in said:
            known = self.model.of(one.get("tenant", ""), one.get("request_id", ""))
            if known is None or not known.out or known.end is not None:
                continue
            if one["kind"] in TERMINAL:
                self.model.lapse(known, now, alive, ended=one["kind"].removeprefix("generation."))
            elif one["kind"] == "job.assigned" and one["attempt"] > known.attempt:
                self.model.lapse(known, now, alive, ended=None)

    def _post(self, entry: dict[str, Any]) -> None:
        """Each usage entry says what its day and its month come to with it."""
        kind = entry["kind"].removeprefix("usage.")
        self.usage[entry["tenant"], kind] += entry["milliunits"]
        for balance in (entry["day"], entry["month"]):
            seen = self.balances.setdefault((entry["tenant"], balance["period"]), Counter())
            seen[kind] += entry["milliunits"]
            assert {name: balance[name] for name in ("held", "settled", "refunded")} == {
                name: seen[name] for name in ("held", "settled", "refunded")
            }
            assert balance["outstanding"] == seen["held"] - seen["settled"] - seen["refunded"] >= 0

    # time and the fleet

    def _beaten_ms(self) -> int:
        return max((heard.at_ms for heard in self.world.fleet.instances.values()), default=0)

    def beat(self) -> None:
        """Who is alive says so now, and the first of them names the jobs that are named."""
        held = [HeldJob(one.who, one.name, one.attempt, "running") for one in self.model.with_the_fleet()]
        self.world.fleet = Fleet(
            {
                name: Heard(
                    Heartbeat(
                        instance=name,
                        stage="generation",
                        pool="default",
                        ready=True,
                        partitions=[0],
                        held=[job for job in held if name == min(self.alive) and job.request_id in self.named],
                    ),
                    self.world.now_ms,
                )
                for name in self.alive
            }
        )

    def report(self, make: Any, which: int, worker: str, back: int, **more: Any) -> None:
        """Of a job that is out, or, now and then, of any: late, of an earlier attempt, or of one that has ended."""
        jobs = self.model.with_the_fleet() if which < WINDOW else self.model.asked[-8:]
        if not jobs:
            return
        one = jobs[which % len(jobs)]
        attempt = max(1, one.attempt - back)
        if "pictures" in more:
            more["pictures"] = min(more["pictures"], one.images)
            if not one.attempt:
                return
        if one.end is None:
            self.model.report(one, make.__name__, worker, attempt, self.world.now_ms, **more)
        self.model.send(self.world.now_ms)
        self.step(self.world.outcome(make(one.name, attempt=attempt, who=one.who, worker=worker, **more)))

    # what holds at every moment

    @invariant()
    def the_books_balance(self) -> None:
        if not hasattr(self, "model"):
            return
        for who in TENANTS:
            account = self.world.state.account(who)
            for periods in (account.days, account.months):
                assert all(
                    p.held == p.settled + p.refunded + p.outstanding and p.outstanding >= 0 for p in periods.values()
                )
            mine = [one for one in self.model.asked if one.who == who]
            held, settled = sum(one.cost for one in mine), sum(one.settled for one in mine)
            outstanding = sum(one.cost for one in mine if one.end is None)
            assert sum(p.outstanding for p in account.months.values()) == outstanding
            assert self.usage[who, "held"] == held
            assert self.usage[who, "settled"] == settled
            assert self.usage[who, "refunded"] == held - settled - outstanding

    @invariant()
    def each_request_ends_once(self) -> None:
        if not hasattr(self, "model"):
            return
        ended = {(one.who, one.name) for one in self.model.asked if one.end}
        assert set(self.terminal) == ended
        assert set(self.terminal.values()) <= {1}

    @invariant()
    def the_fleet_has_those_whose_turn_it_was(self) -> None:
        if not hasattr(self, "model"):
            return
        out = {
            (*one.key,): (one.attempt, one.failures, one.cancel_requested, [tuple(start[:3]) for start in one.starts])
            for one in self.world.state.requests.values()
            if isinstance(one, OpenRequest) and one.state != "queued"
        }
        assert out == {
            (one.who, one.name): (one.attempt, one.failures, one.canceling, one.starts)
            for one in self.model.with_the_fleet()
        }
