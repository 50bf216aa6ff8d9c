"""A model of admission that keeps everything and is too simple to be wrong.

It holds a list of what was asked and what became of it, and counts anew at each step; it knows nothing of accounts,
buckets, queues or heaps. What is to be noted on the control topic it says itself; which lease has run out it is told,
and says whether that may be.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any

from consumer.admission.outcomes import backoff_ms
from tests.consumer.admission.world import NOON_MS, neighbours

TENANTS = neighbours(3)
WEIGHTS = dict(zip(TENANTS, (1, 2, 4), strict=True))
DAY_MILLIUNITS = 9_000
QUEUED = 4
WINDOW = 3
ATTEMPTS = 3
PER_MINUTE = 30
BURST = 5
STEPS = 4
LEASE_MS = 16_000
LOOK_MS = 4_000
HEARD_WITHIN_MS = 8_000
EARLY_MS = 600_000
DAY_MS = 86_400_000
REMEMBERED_MS = 3 * DAY_MS


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
    attempt: int = 0
    failures: int = 0
    due: int | None = None
    starts: list[tuple[str, int, bool]] = field(default_factory=list)
    """Worker, attempt and whether alone, of those that never ended."""
    alone: bool = False
    canceling: bool = False
    word: int = 0
    """When there was last word of its newest attempt."""
    named_since: int | None = None
    end: str | None = None
    ended_ms: int | None = None
    settled: int = 0

    @property
    def cost(self) -> int:
        return 1000 * self.images

    @property
    def lone(self) -> list[str]:
        return [worker for worker, _, alone in self.starts if alone]

    def unstart(self, worker: str, attempt: int) -> bool:
        """The last start of a worker has ended after all."""
        mine = [index for index, start in enumerate(self.starts) if start[:2] == (worker, attempt)]
        if mine:
            del self.starts[mine[-1]]
            self.alone = self.alone and bool(self.starts)
        return bool(mine)


@dataclass
class Model:
    """Everything that ever happened, in the order in which it did."""

    asked: list[Asked] = field(default_factory=list)
    tokens: list[tuple[str, int]] = field(default_factory=list)
    got: dict[str, Fraction] = field(default_factory=lambda: dict.fromkeys(TENANTS, Fraction(0)))
    time: Fraction = Fraction(0)
    early: dict[tuple[str, str], int] = field(default_factory=dict)
    """Until when a cancel of what has yet to come is remembered."""
    wished: list[tuple[str, str]] = field(default_factory=list)
    """Each of those that there ever were."""
    suspended: dict[str, str] = field(default_factory=dict)
    """Tenant → ``keep`` or ``cancel``."""
    notes: list[tuple[str, int, bool, bool]] = field(default_factory=list)
    """What the control topic is to say: id, the least attempt, canceled, alone."""

    def of(self, who: str, name: str) -> Asked | None:
        return next((one for one in self.asked if (one.who, one.name) == (who, name)), None)

    def remembered(self, who: str, name: str, at_ms: int) -> Asked | None:
        one = self.of(who, name)
        return None if one is None or (one.ended_ms or at_ms) + REMEMBERED_MS <= at_ms else one

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

    # what time brings about

    def wake(self, at_ms: int) -> None:
        """Deadlines first, then attempts that are due, then what a suspended tenant has."""
        for one in self.open():
            if not one.out and one.deadline is not None and one.deadline <= at_ms:
                self.finish(one, "failed")
        for one in self.open():
            if one.due is not None and one.due <= at_ms:
                self.activate(one.who)
                one.due = None
        for one in self.open():
            if self.suspended.get(one.who) == "cancel":
                self.stop(one)
        self.early = {key: until for key, until in self.early.items() if until > at_ms}

    def send(self, at_ms: int) -> None:
        """While there is room: of the tenants that wait, the one that got least for its weight; of it, the first."""
        while len(self.with_the_fleet()) < WINDOW:
            waiting = [one for one in self.in_line() if self.suspended.get(one.who) != "cancel"]
            if not waiting:
                return
            who = min({one.who for one in waiting}, key=lambda name: (self.got[name], name))
            one = min((one for one in waiting if one.who == who), key=lambda one: one.rank)
            one.out, one.attempt, one.word = True, one.attempt + 1, at_ms
            self.time = max(self.time, self.got[who])
            self.got[who] += Fraction(one.cost, WEIGHTS[who])

    def hear(self, one: Asked, named_ms: int | None, at_ms: int) -> None:
        """Who names a job is not looked at in each moment: what was named for a look's time has been heard."""
        if named_ms is None:
            one.named_since = None
            return
        one.named_since = one.named_since or at_ms
        if one.named_since + LOOK_MS <= at_ms:
            one.word = max(one.word, named_ms)

    def lapse(self, one: Asked, at_ms: int, alive: Iterable[str], *, ended: str | None) -> None:
        """Its lease has run out, they say: may that be, and what follows?"""
        silent_ms = at_ms - one.word
        gone = len(one.lone) >= ATTEMPTS and one.lone[-1] not in alive and silent_ms >= HEARD_WITHIN_MS - LOOK_MS
        assert alive, "sent again while there is nobody"
        assert silent_ms >= LEASE_MS - LOOK_MS or (gone and ended), "somebody has it"
        if one.canceling or len(one.lone) >= ATTEMPTS:
            assert ended == ("canceled" if one.canceling else "failed")
            self.finish(one, ended)
            return
        assert ended is None
        one.attempt, one.alone, one.word = one.attempt + 1, bool(one.starts), at_ms
        self.notes.append((one.name, one.attempt, False, one.alone))

    # what is asked for

    def request(
        self, who: str, name: str, images: int, prompt: str, priority: str, deadline: int | None, at_ms: int
    ) -> tuple[str, str | None]:
        """The answer by what the rules say in words, in their order."""
        if abs(int(name.replace("-", "")[:12], 16) - at_ms) > DAY_MS:
            return "generation.rejected", "id_out_of_time"
        known = self.remembered(who, name, at_ms)
        if known is not None:
            same = (known.images, known.prompt, known.priority, known.deadline) == (images, prompt, priority, None)
            return "generation.duplicate", None if same else "id_conflict"
        if who in self.suspended:
            return "generation.rejected", "tenant_suspended"
        if not self.may_take_token(who, at_ms):
            return "generation.rejected", "rate_limited"
        self.tokens.append((who, at_ms))
        day = f"day {(at_ms - NOON_MS + DAY_MS // 2) // DAY_MS}"
        if self.used(who, day) + 1000 * images > DAY_MILLIUNITS:
            return "generation.rejected", "budget_day_exceeded"
        if self.waiting(who) >= QUEUED:
            return "generation.rejected", "queue_full"
        rank = at_ms - 300_000 * ["low", "normal", "high"].index(priority)
        asked = Asked(who, name, images, day, prompt, priority, (rank, len(self.asked)), deadline)
        if self.early.pop((who, name), None):
            asked.end = "canceled"
        else:
            self.activate(who)
        self.asked.append(asked)
        return "generation.accepted", None

    def used(self, who: str, day: str) -> int:
        mine = [one for one in self.asked if (one.who, one.day) == (who, day)]
        return sum(one.cost if one.end is None else one.settled for one in mine)

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

    def stop(self, one: Asked) -> None:
        if not one.out:
            self.finish(one, "canceled")
        elif not one.canceling:
            one.canceling = True
            self.notes.append((one.name, one.attempt + 1, True, False))

    # what the fleet reports

    def report(self, one: Asked, kind: str, worker: str, attempt: int, at_ms: int, **more: Any) -> None:
        """A report about a request that is open."""
        if kind == "succeeded":
            one.settled = 1000 * min(more["pictures"], one.images)
            self.finish(one, "succeeded", worker, attempt)
        elif not one.out or attempt != one.attempt:
            if kind != "started" and one.unstart(worker, attempt) and one.out:
                one.word = at_ms
        elif kind == "started":
            self._started(one, worker, more["alone"], at_ms)
        elif one.canceling:
            steps = more.get("steps_run", 0)
            one.settled = one.cost * min(steps, one.images * STEPS) // (one.images * STEPS)
            self.finish(one, "canceled", worker, attempt)
        elif kind == "released":
            one.unstart(worker, attempt)
            one.word = at_ms
        elif kind == "failed":
            self._failed(one, worker, at_ms, retryable=more["retryable"])

    def _started(self, one: Asked, worker: str, alone: bool, at_ms: int) -> None:
        if alone and len(one.lone) >= ATTEMPTS:
            self.finish(one, "canceled" if one.canceling else "failed")
            return
        one.word = at_ms
        if one.starts and not one.alone and not one.canceling:
            one.alone = True
            self.notes.append((one.name, one.attempt, False, True))
        one.starts.append((worker, one.attempt, alone))

    def _failed(self, one: Asked, worker: str, at_ms: int, *, retryable: bool) -> None:
        one.failures += 1
        if not retryable or one.failures >= ATTEMPTS:
            self.finish(one, "failed", worker, one.attempt)
            return
        one.unstart(worker, one.attempt)
        one.out, one.alone, one.due = False, bool(one.starts), at_ms + backoff_ms(one.name, one.failures)

    def finish(self, one: Asked, end: str, worker: str | None = None, attempt: int = 0) -> None:
        """The end, reported by a worker or not; whoever else may have it is told, unless they were already."""
        by_all_that_have_it = one.out and attempt == one.attempt and all(start[0] == worker for start in one.starts)
        if one.attempt and not one.canceling and not by_all_that_have_it:
            self.notes.append((one.name, one.attempt + 1, False, False))
        one.end = end
