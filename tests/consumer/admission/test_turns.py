"""The order of turns against lists that are searched anew each time."""

from __future__ import annotations

from collections import Counter
from itertools import islice

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from consumer.admission.fairness import Turns

NAMES = st.sampled_from(["a", "b", "c", "d"])
POOLS = st.sampled_from(["x", "y"])


class Lines(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.turns: Turns[int] = Turns()
        self.waiting: dict[int, tuple[str, str, int]] = {}
        self.tags: Counter[tuple[str, str]] = Counter()
        self.stopped: set[str] = set()
        self.numbers = 0

    def in_line(self, pool: str, tenant: str) -> list[int]:
        mine = [(rank, key) for key, (p, t, rank) in self.waiting.items() if (p, t) == (pool, tenant)]
        return [key for _, key in sorted(mine)]

    def expected(self, pool: str) -> str | None:
        able = {t for p, t, _ in self.waiting.values() if p == pool} - self.stopped
        return min(able, key=lambda tenant: (self.tags[pool, tenant], tenant), default=None)

    def next(self, pool: str) -> str | None:
        return self.turns.next(pool, lambda tenant: self.tags[pool, tenant], lambda tenant: tenant not in self.stopped)

    @rule(pool=POOLS, tenant=NAMES, rank=st.integers(0, 5))
    def comes(self, pool: str, tenant: str, rank: int) -> None:
        self.numbers += 1
        self.waiting[self.numbers] = (pool, tenant, rank)
        self.turns.add(self.numbers, pool, tenant, rank, self.numbers)

    @rule(data=st.data())
    def leaves(self, data: st.DataObject) -> None:
        if self.waiting:
            key = data.draw(st.sampled_from(sorted(self.waiting)))
            assert self.turns.remove(key)
            place = self.waiting.pop(key)
            if data.draw(st.booleans()):
                # As when an attempt has failed: it is in line again where it was.
                self.waiting[key] = place
                self.turns.add(key, place[0], place[1], place[2], key)

    @rule(pool=POOLS, milliunits=st.integers(0, 9))
    def is_served(self, pool: str, milliunits: int) -> None:
        tenant = self.next(pool)
        assert tenant == self.expected(pool)
        if tenant is not None:
            key = next(self.turns.line(pool, tenant))
            assert key == self.in_line(pool, tenant)[0]
            self.turns.remove(key)
            del self.waiting[key]
            self.tags[pool, tenant] += milliunits

    @rule(tenant=NAMES)
    def may_not_send(self, tenant: str) -> None:
        self.stopped.add(tenant)

    @rule(tenant=NAMES, told_all=st.booleans())
    def may_send_again(self, tenant: str, told_all: bool) -> None:
        self.stopped.discard(tenant)
        if told_all:
            self.turns.allow_all()
        else:
            self.turns.allow(tenant)

    @invariant()
    def each_pool_has_its_order(self) -> None:
        assert len(self.turns) == len(self.waiting)
        assert self.turns.pools() == sorted({pool for pool, _, _ in self.waiting.values()})
        for pool in ("x", "y"):
            assert self.next(pool) == self.expected(pool)
            for tenant in ("a", "b", "c", "d"):
                mine = self.in_line(pool, tenant)
                assert self.turns.waits(pool, tenant) == bool(mine)
                assert self.turns.of(tenant) == sum(t == tenant for _, t, _ in self.waiting.values())
                if mine:
                    assert list(islice(self.turns.line(pool, tenant), 32)) == mine[:32]


Lines.TestCase.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)
TestLines = Lines.TestCase
