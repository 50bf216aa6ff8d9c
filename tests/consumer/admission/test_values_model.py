"""Idempotency keys, answers from earlier results, dry runs and deletes, against a model that keeps everything.

The model is a list of what was accepted and one of the deletes; each question is answered by going through all of it.
What it doesn't ask, whose turn it is and what becomes of attempts, ``test_model.py`` does.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from consumer.admission.fleet_view import NO_FLEET
from consumer.admission.keys import RequestKey
from consumer.admission.state import OpenRequest
from schemas.ids import time_of
from schemas.jobs import JobDeleted
from schemas.outputs import manifest_key
from schemas.requests import DeleteRequest
from tests.consumer.admission.world import (
    NOON_MS,
    TOPICS,
    World,
    failed,
    fleet_of,
    neighbours,
    request_id,
    rules,
    succeeded,
    tenant,
)
from transport.records import Record

TENANTS = neighbours(2)
HOUR_MS = 3_600_000
REMEMBERED_MS = 72 * HOUR_MS
LEASE_MS = 60_000
DAY_MILLIUNITS = 12_000
CACHED = Decimal("0.25")
FLEETS: dict[str, dict[str, dict[str, str]]] = {
    "gone": {},
    "idle": {"w": {}},
    "one": {"w": {"m": "r1"}, "v": {}},
    "other": {"w": {"m": "r2"}},
    "two": {"w": {"m": "r1"}, "v": {"m": "r2"}},
}

Body = tuple[int, str, int | None, str]
"""Images, prompt, seed, priority."""


@dataclass
class Asked:
    """One accepted request."""

    who: str
    name: str
    key: str | None
    body: Body
    day: str
    held: int
    settled: int = 0
    end: str | None = None
    ended_ms: int = 0
    revision: str | None = None
    """Of the weights that made its result, while that may answer another request."""


@dataclass
class Out:
    """A delete that nobody has reported."""

    who: str
    target: str
    wanted: list[str]
    sent_ms: int


@dataclass
class Model:
    asked: list[Asked] = field(default_factory=list)
    out: list[Out] = field(default_factory=list)
    now_ms: int = NOON_MS
    fleet: str = "one"

    def remembered(self, who: str) -> list[Asked]:
        return [
            one
            for one in self.asked
            if one.who == who and (one.end is None or self.now_ms < one.ended_ms + REMEMBERED_MS)
        ]

    def known(self, who: str, name: str) -> Asked | None:
        return next((one for one in self.remembered(who) if one.name == name), None)

    def under(self, who: str, key: str | None) -> Asked | None:
        return next((one for one in self.remembered(who) if key is not None and one.key == key), None)

    def made(self, who: str, body: Body, revision: str) -> Asked | None:
        return next(
            (one for one in self.remembered(who) if one.revision == revision and one.body[:3] == body[:3]), None
        )

    def hit(self, who: str, body: Body) -> Asked | None:
        reported = {models["m"] for models in FLEETS[self.fleet].values() if "m" in models}
        return self.made(who, body, reported.pop()) if body[2] is not None and len(reported) == 1 else None

    def used(self, who: str, day: str) -> int:
        return sum(
            one.held if one.end is None else one.settled for one in self.asked if (one.who, one.day) == (who, day)
        )

    def today(self) -> str:
        return datetime.fromtimestamp(self.now_ms / 1000, tz=UTC).date().isoformat()


class Values(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        budget = Decimal(DAY_MILLIUNITS) / 1000
        who = [tenant(name, units_per_day=budget) for name in TENANTS]
        who = [one.model_copy(update={"cached_price_factor": CACHED}) for one in who]
        self.world = World(rules(*who, partition=1, window=3))
        self.model = Model()
        self.numbers = 0
        self.entries: Counter[tuple[str, str, str]] = Counter()
        self.sums: Counter[tuple[str, str, str]] = Counter()
        self.ids: Counter[str] = Counter()

    def step(self, *records: Record) -> list[dict[str, Any]]:
        workers = FLEETS[self.model.fleet]
        self.world.fleet = fleet_of(self.world.now_ms, **workers) if workers else NO_FLEET
        before = len(self.world.said)
        said = self.world.take(*records)
        assert self.world.batches[-1].blamed == []
        public = [out for out in self.world.said[before:] if out.topic in (TOPICS.results, TOPICS.usage)]
        self.ids.update(str(dict(out.headers)["ce_id"]) for out in public)
        for entry in said:
            if entry["sent_to"] == "usage":
                self.book(entry)
        return said

    def book(self, entry: dict[str, Any]) -> None:
        """Each entry once, and its balances are what the entries so far add up to, where it is posted."""
        who, kind = entry["tenant"], entry["kind"].removeprefix("usage.")
        self.entries[who, entry["request_id"], kind] += 1
        for balance in (entry["day"], entry["month"]):
            period = balance["period"]
            self.sums[who, period, kind] += entry["milliunits"]
            held, settled, refunded = (self.sums[who, period, name] for name in ("held", "settled", "refunded"))
            assert [balance[name] for name in ("held", "settled", "refunded", "outstanding")] == [
                held,
                settled,
                refunded,
                held - settled - refunded,
            ]

    def is_young(self, name: str) -> bool:
        """Whether an event with this id would still be read."""
        return self.model.now_ms - time_of(name) <= 24 * HOUR_MS

    def new_id(self) -> str:
        self.numbers += 1
        return request_id(self.numbers, self.world.now_ms)

    @rule(
        who=st.sampled_from(TENANTS),
        key=st.sampled_from([None, None, None, "a", "b", "c", "d"]),
        images=st.integers(1, 2),
        prompt=st.sampled_from(["a red circle", "a blue square"]),
        seed=st.sampled_from([None, 1, 1, 2]),
        priority=st.sampled_from(["normal", "high"]),
        again=st.sampled_from(["new", "new", "new", "id", "id and body", "key and body", "body", "body"]),
        dry_run=st.sampled_from([False, False, True]),
        at_once=st.booleans(),
    )
    def request(
        self,
        who: str,
        key: str | None,
        images: int,
        prompt: str,
        seed: int | None,
        priority: str,
        again: str,
        dry_run: bool,
        at_once: bool,
    ) -> None:
        body: Body = (images, prompt, seed, priority)
        recent = [one for one in self.model.remembered(who) if self.is_young(one.name)]
        last = recent[-1] if recent and again != "new" else None
        name = last.name if last and again in ("id", "id and body") else self.new_id()
        if last and again in ("id and body", "key and body"):
            key = last.key
        if last and again.endswith("body"):
            body = (*last.body[:3], priority) if again == "body" else last.body
            images, prompt, seed, priority = body
        fields: dict[str, Any] = {"images": images, "prompt": prompt, "priority": priority}
        fields |= {"seed": seed} if seed is not None else {}
        fields |= {"dry_run": True} if dry_run else {}
        said = self.step(self.world.request(who=who, event_id=name, idempotency_key=key, **fields))
        answer = next(m for m in said if m["sent_to"] == "results")
        code = (answer.get("error") or {}).get("code")
        kind = answer["kind"].removeprefix("generation.")

        known = self.model.known(who, name)
        first = known or (None if dry_run else self.model.under(who, key))
        if first is not None:
            same = first.body == body and not dry_run
            assert (kind, answer["of"]) == ("duplicate", None if known else first.name)
            assert code == (None if same else "id_conflict" if known else "idempotency_conflict")
            assert first.end is None or answer["state"] == first.end
            return
        hit = self.model.hit(who, body)
        cost = images * 250 if hit else images * 1000
        acceptable = self.model.used(who, self.model.today()) + cost <= DAY_MILLIUNITS
        refusal = None if acceptable else "budget_day_exceeded"
        if dry_run:
            assert (kind, code, answer["acceptable"]) == ("priced", refusal, acceptable)
            assert (answer["cost_milliunits"], answer["cached"]) == (cost, hit is not None)
            return
        assert (kind, code) == ("accepted" if acceptable else "rejected", refusal)
        if not acceptable:
            return
        one = Asked(who, name, key, body, self.model.today(), cost)
        self.model.asked.append(one)
        ends = [m for m in said if m["kind"] == "generation.succeeded"]
        assert [(m["cached"], m["manifest"], m["cost_milliunits"]) for m in ends] == (
            [(True, manifest_key(who, hit.name), cost)] if hit else []
        )
        if hit:
            one.settled, one.end, one.ended_ms = cost, "succeeded", self.model.now_ms
        elif at_once:
            self.report(RequestKey(who, name), images, "r1")

    @rule(
        which=st.integers(0, 2), delivered=st.sampled_from([0, 1, 2, 2]), revision=st.sampled_from(["r1", "r1", "r2"])
    )
    def end(self, which: int, delivered: int, revision: str) -> None:
        out = sorted(
            (one.sequence, one)
            for one in self.world.state.requests.values()
            if isinstance(one, OpenRequest) and one.state != "queued"
        )
        if which >= len(out):
            return
        self.report(out[which][1].key, delivered, revision)

    def report(self, key: RequestKey, delivered: int, revision: str) -> None:
        """Its newest attempt ends, if it is with the fleet: with so many pictures, or none."""
        request, asked, (who, name) = self.world.state.requests[key], self.model.known(*key), key
        if not isinstance(request, OpenRequest) or request.state == "queued" or asked is None:
            return
        delivered = min(delivered, asked.body[0])
        if delivered:
            report = succeeded(name, delivered, attempt=request.attempt, who=who)
            self.step(self.world.outcome(report.model_copy(update={"weights_revision": revision})))
            asked.end, asked.settled = "succeeded", 1000 * delivered
            whole = delivered == asked.body[0] and asked.body[2] is not None
            if whole and self.model.made(who, asked.body, revision) is None:
                asked.revision = revision
        else:
            self.step(self.world.outcome(failed(name, attempt=request.attempt, who=who)))
            asked.end = "failed"
        asked.ended_ms = self.model.now_ms

    @rule(who=st.sampled_from(TENANTS), which=st.integers(-1, 8), repeat=st.booleans())
    def delete(self, who: str, which: int, repeat: bool) -> None:
        mine = [one for one in self.model.asked if one.who == who]
        unknown = request_id(10_000, self.world.now_ms - (49 * HOUR_MS if which % 2 else HOUR_MS))
        target = mine[which].name if 0 <= which < len(mine) else unknown
        out = next((one for one in self.model.out if (one.who, one.target) == (who, target)), None)
        name = out.wanted[-1] if out and repeat and self.is_young(out.wanted[-1]) else self.new_id()
        body = DeleteRequest(request_id=target).model_dump_json().encode()
        said = self.step(self.world.request(who=who, event_id=name, kind=DeleteRequest.TYPE, body=body))
        answer: dict[str, Any] = next((m for m in said if m["kind"] != "control"), {"kind": ""})
        known = self.model.known(who, target)
        if known is not None and known.end is None:
            assert (answer["kind"], answer["error"]["code"]) == ("generation.delete_refused", "not_ended")
        elif known is None and self.model.now_ms < time_of(target) - 24 * HOUR_MS + REMEMBERED_MS:
            assert (answer["kind"], answer["error"]["code"]) == ("generation.delete_refused", "not_found")
        elif out is not None:
            assert said == []
            out.wanted += [] if name in out.wanted else [name]
        else:
            assert (answer["kind"], answer["attempt"], answer["delete_id"]) == ("job.delete_assigned", 1, name)
            self.model.out.append(Out(who, target, [name], self.model.now_ms))
            if known is not None:
                known.revision = None

    @rule(which=st.integers(0, 3), attempt=st.integers(1, 3), stale=st.integers(0, 3))
    def deleted(self, which: int, attempt: int, stale: int) -> None:
        if which >= len(self.model.out):
            return
        out = self.model.out[which]
        report = JobDeleted(
            tenant=out.who,
            request_id=out.target,
            attempt=attempt,
            worker="w",
            delete_id=out.wanted[0] if stale else request_id(77_777),
            objects=3,
        )
        said = self.step(self.world.outcome(report))
        told = [(m["kind"], m["delete_id"], m["objects"]) for m in said]
        assert told == ([("generation.deleted", name, 3) for name in out.wanted] if stale else [])
        if stale:
            self.model.out.remove(out)

    @rule(fleet=st.sampled_from(["one", "one", "one", *sorted(FLEETS)]))
    def the_fleet_changes(self, fleet: str) -> None:
        self.model.fleet = fleet
        self.look_around()

    @rule(minutes=st.sampled_from([0.1, 0.5, 1, 60, 60 * 13, 60 * 40]))
    def time_passes(self, minutes: float) -> None:
        self.world.now_ms += int(minutes * 60_000)
        self.model.now_ms = self.world.now_ms
        self.look_around()

    def look_around(self) -> None:
        """What is out for the time of a lease is sent again, if anybody lives."""
        said = self.step()
        again = [(m["tenant"], m["request_id"]) for m in said if m["kind"] == "job.delete_assigned"]
        lives = bool(FLEETS[self.model.fleet])
        due = [one for one in self.model.out if lives and one.sent_ms + LEASE_MS <= self.model.now_ms]
        assert sorted(again) == sorted((one.who, one.target) for one in due)
        for one in due:
            one.sent_ms = self.model.now_ms

    @rule()
    def crash(self) -> None:
        if not self.world.ledger:
            return
        before = self.world.state
        self.world.restart()
        after = self.world.state
        assert after.requests == before.requests
        assert after.accounts == before.accounts
        assert after.deletions.content() == before.deletions.content()

    @invariant()
    def it_remembers_what_the_model_does(self) -> None:
        if not hasattr(self, "model"):
            return
        mine = {RequestKey(one.who, one.name): one.end for who in TENANTS for one in self.model.remembered(who)}
        theirs = {
            key: None if isinstance(one, OpenRequest) else one.state for key, one in self.world.state.requests.items()
        }
        assert mine == theirs

    @invariant()
    def every_entry_and_every_event_is_there_once(self) -> None:
        if not hasattr(self, "model"):
            return
        assert set(self.entries.values()) <= {1}
        assert set(self.ids.values()) <= {1}
        for one in self.model.asked:
            assert self.entries[one.who, one.name, "held"] == 1


Values.TestCase.settings = settings(
    max_examples=300, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
)
TestValues = Values.TestCase
