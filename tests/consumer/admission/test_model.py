"""The decision against a model that keeps everything and is too simple to be wrong.

The model holds lists of what happened and counts them anew at each step; it knows nothing of accounts, buckets or
queues. The machine also forgets its memory at random and reads it back from what it wrote to the ledger.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from consumer.admission.ledger import Restored
from consumer.admission.outcomes import backoff_ms
from consumer.admission.state import OpenRequest
from schemas.requests import Priority
from tests.consumer.admission.world import (
    NOON_MS,
    TOPICS,
    World,
    directory,
    failed,
    neighbours,
    released,
    request_id,
    rules,
    started,
    succeeded,
    tenant,
)
from transport.records import Record

TENANTS = neighbours(3)
WEIGHTS = dict(zip(TENANTS, (1, 2, 4), strict=True))
DAY_MILLIUNITS = 9_000
QUEUED = 4
WINDOW = 3
ATTEMPTS = 3
PER_MINUTE = 30
BURST = 5


@dataclass
class Asked:
    """One accepted request, as its tenant would note it down."""

    who: str
    name: str
    images: int
    day: str
    prompt: str
    priority: str
    rank: tuple[int, int]
    deadline: int | None = None
    out: bool = False
    sent: bool = False
    attempt: int = 1
    due: int | None = None
    end: str | None = None
    delivered: int = 0


@dataclass
class Model:
    """Everything that ever happened, in the order in which it did."""

    asked: list[Asked] = field(default_factory=list)
    tokens: list[tuple[str, int]] = field(default_factory=list)
    got: dict[str, Fraction] = field(default_factory=lambda: dict.fromkeys(TENANTS, Fraction(0)))
    time: Fraction = Fraction(0)

    def of(self, who: str, name: str) -> Asked | None:
        return next((one for one in self.asked if (one.who, one.name) == (who, name)), None)

    def open(self) -> list[Asked]:
        return [one for one in self.asked if one.end is None]

    def with_the_fleet(self) -> list[Asked]:
        return [one for one in self.asked if one.out and one.end is None]

    def waiting(self, who: str) -> int:
        return sum(one.who == who for one in self.in_line())

    def in_line(self) -> list[Asked]:
        return [one for one in self.asked if one.end is None and not one.out and one.due is None]

    def activate(self, who: str) -> None:
        """Who had nothing in line begins where the others are."""
        if not self.waiting(who):
            self.got[who] = max(self.got[who], self.time)

    def wake(self, at_ms: int) -> None:
        """Deadlines first, then attempts that are due, then whose turn it is."""
        for one in self.asked:
            if one.end is None and not one.out and one.deadline is not None and one.deadline <= at_ms:
                one.end = "failed"
        for one in self.asked:
            if one.end is None and one.due is not None and one.due <= at_ms:
                self.activate(one.who)
                one.due = None
        self.send()

    def send(self) -> None:
        """While there is room: of the tenants that wait, the one that got least for its weight; of it, the first."""
        while len(self.with_the_fleet()) < WINDOW:
            waiting = self.in_line()
            if not waiting:
                return
            who = min({one.who for one in waiting}, key=lambda name: (self.got[name], name))
            one = min((one for one in waiting if one.who == who), key=lambda one: one.rank)
            one.out = True
            one.attempt = one.attempt + 1 if one.sent else 1
            one.sent = True
            self.time = max(self.time, self.got[who])
            self.got[who] += Fraction(1000 * one.images, WEIGHTS[who])

    def used(self, who: str, day: str) -> int:
        mine = [one for one in self.asked if (one.who, one.day) == (who, day) and one.end != "failed"]
        return sum(1000 * (one.images if one.end is None else one.delivered) for one in mine)

    def may_take_token(self, who: str, at_ms: int) -> bool:
        """Play the bucket from the very beginning, in fractions."""
        level, last = Decimal(BURST), NOON_MS
        for when in [*(at for name, at in self.tokens if name == who), at_ms]:
            level = min(Decimal(BURST), level + Decimal(when - last) * PER_MINUTE / 60_000)
            last = when
            if level < 1:
                return False
            level -= 1
        return True


class Admission(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        limits: dict[str, Any] = {
            "requests_per_minute": PER_MINUTE,
            "burst": BURST,
            "units_per_day": Decimal(DAY_MILLIUNITS) / 1000,
            "queued": QUEUED,
        }
        self.world = World(
            rules(*(tenant(name, weight=WEIGHTS[name], **limits) for name in TENANTS), partition=1, window=WINDOW)
        )
        self.model = Model()
        self.terminal: Counter[tuple[str, str]] = Counter()
        self.usage: Counter[tuple[str, str]] = Counter()
        self.pending: list[Record] = []
        self.numbers = 0

    def step(self, *records: Record) -> list[dict[str, Any]]:
        said = self.world.take(*records)
        assert self.world.batches[-1].blamed == []
        for one in said:
            if one["kind"] in ("generation.succeeded", "generation.failed"):
                self.terminal[one["tenant"], one["request_id"]] += 1
            if one["sent_to"] == "usage":
                self.usage[one["tenant"], one["kind"].removeprefix("usage.")] += one["milliunits"]
        return said

    @rule(seconds=st.sampled_from([0, 1, 2, 30, 3600]))
    def time_passes(self, seconds: int) -> None:
        self.world.now_ms += seconds * 1000
        self.step()
        self.model.wake(self.world.now_ms)

    @rule(
        who=st.sampled_from(TENANTS),
        images=st.integers(1, 4),
        reuse=st.integers(0, 6),
        prompt=st.sampled_from(["a red circle", "a blue square"]),
        priority=st.sampled_from(["low", "normal", "high"]),
        patience=st.sampled_from([None, None, 1, 40]),
    )
    def request(self, who: str, images: int, reuse: int, prompt: str, priority: Priority, patience: int | None) -> None:
        names = [one.name for one in self.model.asked]
        if reuse == 0 and names:
            name, priority, patience = names[-1], "normal", None
        else:
            self.numbers += 1
            name = request_id(self.numbers, self.world.now_ms)
        deadline = None if patience is None else self.world.now_ms + patience * 1000
        fields: dict[str, Any] = {"images": images, "prompt": prompt, "priority": priority}
        if deadline is not None:
            fields["deadline"] = datetime.fromtimestamp(deadline / 1000, tz=UTC).isoformat()
        record = self.world.request(who=who, event_id=name, **fields)
        said = [one for one in self.step(record) if one["sent_to"] == "results"]
        (answer,) = said
        expected = self.expect(who, name, images, prompt, priority)
        if expected[0] == "generation.accepted":
            self.model.asked[-1].deadline = deadline
        self.model.send()
        assert (answer["kind"], (answer.get("error") or {}).get("code")) == expected

    def expect(self, who: str, name: str, images: int, prompt: str, priority: Priority) -> tuple[str, str | None]:
        """What the rules say in words, in their order."""
        known, at_ms = self.model.of(who, name), self.world.now_ms
        if known is not None:
            same = (known.images, known.prompt, known.priority, known.deadline) == (images, prompt, priority, None)
            return "generation.duplicate", None if same else "id_conflict"
        if not self.model.may_take_token(who, at_ms):
            return "generation.rejected", "rate_limited"
        self.model.tokens.append((who, at_ms))
        day = f"day {(at_ms - NOON_MS + 43_200_000) // 86_400_000}"
        if self.model.used(who, day) + 1000 * images > DAY_MILLIUNITS:
            return "generation.rejected", "budget_day_exceeded"
        if self.model.waiting(who) >= QUEUED:
            return "generation.rejected", "queue_full"
        self.model.activate(who)
        rank = at_ms - 300_000 * ["low", "normal", "high"].index(priority)
        order = len(self.model.asked)
        self.model.asked.append(Asked(who, name, images, day, prompt, priority, (rank, order)))
        return "generation.accepted", None

    @rule(which=st.integers(0, 8), delivered=st.integers(1, 4))
    def success(self, which: int, delivered: int) -> None:
        if which < len(out := self.model.with_the_fleet()):
            one = out[which]
            one.delivered = min(delivered, one.images)
            one.end = "succeeded"
            self.model.send()
            self.step(self.world.outcome(succeeded(one.name, one.delivered, attempt=one.attempt, who=one.who)))

    @rule(which=st.integers(0, 8), retryable=st.booleans())
    def failure(self, which: int, retryable: bool) -> None:
        if which >= len(out := self.model.with_the_fleet()):
            return
        one = out[which]
        if retryable and one.attempt < ATTEMPTS:
            one.out, one.due = False, self.world.now_ms + backoff_ms(one.name, one.attempt)
        else:
            one.end = "failed"
        self.model.send()
        # Its deadline may have passed while it was with the fleet: then there is no other attempt.
        self.model.wake(self.world.now_ms)
        report = failed(one.name, attempt=one.attempt, who=one.who, retryable=retryable)
        self.step(self.world.outcome(report))

    @rule(
        which=st.integers(0, 30),
        kind=st.sampled_from([started, released, failed, succeeded]),
        attempt=st.integers(1, 2),
    )
    def noise(self, which: int, kind: Any, attempt: int) -> None:
        """Reports that must not end anything: late ones, and starts and releases."""
        if which >= len(self.model.asked):
            return
        one = self.model.asked[which]
        if one.end is None and kind in (failed, succeeded):
            return
        self.step(self.world.outcome(kind(one.name, attempt=attempt, who=one.who)))

    @rule(data=st.data())
    def delivered_again(self, data: st.DataObject) -> None:
        """A batch that was decided is read once more, as after a crash of the group: nothing follows from it."""
        record = self.world.request(who=TENANTS[0], event_id=request_id(999_999, self.world.now_ms))
        self.world._ends[TOPICS.requests] -= 1
        old = replace(record, offset=data.draw(st.integers(0, max(0, record.offset - 1))))
        if record.offset:
            assert self.step(old) == []

    @rule()
    def crash(self) -> None:
        """All memory is lost, and read back from the ledger."""
        restored = Restored()
        restored.read(
            Record("t.ledger", 1, offset, 0, key, value, ())
            for offset, (key, value) in enumerate(reversed(self.world.ledger.items()))
        )
        restored.finish()
        if not restored.state.next_offsets:
            return
        assert restored.state.requests == self.world.state.requests
        assert restored.state.accounts == self.world.state.accounts
        assert restored.state.times == self.world.state.times
        self.world.state = restored.state

    @rule(version=st.integers(2, 9))
    def a_new_tenants_file(self, version: int) -> None:
        held = self.world.rules.directory
        if version > held.version:
            new = directory(*held.tenants.values(), version=version)
            self.world.rules = replace(self.world.rules, directory=new)

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
            outstanding = sum(1000 * one.images for one in self.model.open() if one.who == who)
            settled = sum(1000 * one.delivered for one in self.model.asked if one.who == who)
            held = sum(1000 * one.images for one in self.model.asked if one.who == who)
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
        out = [
            one.key
            for one in self.world.state.requests.values()
            if isinstance(one, OpenRequest) and one.state != "queued"
        ]
        assert sorted((key.tenant, key.request_id) for key in out) == sorted(
            (one.who, one.name) for one in self.model.with_the_fleet()
        )


Admission.TestCase.settings = settings(
    max_examples=150, stateful_step_count=80, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAdmission = Admission.TestCase
