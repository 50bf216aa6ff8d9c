"""Whose turn is it? Start-time fair queueing over units, weighted by tenant; inside a tenant priority, then age.

Each tenant has a tag for each pool, kept in its account: how far it has been served there, in units of work divided
by its weight. Of those that wait for a pool the tenant with the lowest tag is next, and its tag moves on by what was
sent. One that was away begins at the pool's own time, so nobody saves up turns. Of two tenants that both wait, neither
is ever ahead by more than one request of each, by weight. Work is counted before prices: who pays less for a unit does
not get more of the fleet. Pools have nothing to do with each other: a full one holds up none but its own.
Source: Goyal, Vin, Cheng: Start-time Fair Queuing (1996), with one tag a tenant in place of one a packet.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

from schemas.requests import Priority

__all__ = ["AGEING_MS", "Turns", "advanced", "rank_of"]

AGEING_MS = 5 * 60_000
"""A level of priority is worth this much waiting: what is low is overtaken only by what comes within two of these."""

_LEVELS: dict[Priority, int] = {"low": 0, "normal": 1, "high": 2}
# Tags are integers, so that a restored partition goes on to the bit; this is how finely a unit is divided by a weight.
_SCALE = 1_000_000

Key = TypeVar("Key", bound=Hashable)


def rank_of(priority: Priority, accepted_ms: int) -> int:
    """The order inside a tenant, lowest first: the time of acceptance, earlier by ``AGEING_MS`` for each level."""
    return accepted_ms - _LEVELS[priority] * AGEING_MS


def advanced(tag: int, milliunits: int, weight: int) -> int:
    """A tenant's tag after it was served."""
    return tag + milliunits * _SCALE // weight


class Turns(Generic[Key]):
    """What waits on one partition: a line for each pool and tenant, and in each pool the tenants by their tags.

    ``next`` costs the logarithm of the number of tenants, whatever their number. That needs tags which never go down,
    and a word (``allow``) when a tenant that might not send may again.
    """

    def __init__(self) -> None:
        self._lines: dict[tuple[str, str], _Line[Key]] = {}
        self._places: dict[Key, tuple[str, str]] = {}
        self._orders: dict[str, list[tuple[int, str]]] = {}
        self._listed: set[tuple[str, str]] = set()
        """Which lines have an entry in their pool's order; an entry may outlive its line."""
        self._kept_back: dict[str, set[str]] = {}
        self._waiting: Counter[str] = Counter()
        self._in_pool: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._places)

    def of(self, tenant: str) -> int:
        """How many of a tenant's wait, for any pool."""
        return self._waiting[tenant]

    def waits(self, pool: str, tenant: str) -> bool:
        """Whether a tenant has something in line for a pool."""
        return (pool, tenant) in self._lines

    def lines(self) -> set[tuple[str, str]]:
        """Each pool and tenant with something in line."""
        return set(self._lines)

    def pools(self) -> list[str]:
        """The pools for which something waits, by name."""
        return sorted(pool for pool, count in self._in_pool.items() if count)

    def add(self, key: Key, pool: str, tenant: str, rank: int, sequence: int) -> None:
        """It waits from now on. ``sequence`` decides between equal ranks."""
        if key in self._places:
            return
        place = self._places[key] = (pool, tenant)
        self._waiting[tenant] += 1
        self._in_pool[pool] += 1
        line = self._lines.get(place)
        if line is None:
            line = self._lines[place] = _Line()
            if pool not in self._kept_back.get(tenant, ()):
                self._list(pool, tenant)
        line.add((rank, sequence, key))

    def remove(self, key: Key) -> bool:
        """It waits no more: it was sent, or it ended. False when it did not wait."""
        place = self._places.pop(key, None)
        if place is None:
            return False
        self._in_pool[place[0]] -= 1
        self._waiting[place[1]] -= 1
        line = self._lines[place]
        line.remove(key)
        if not line:
            del self._lines[place]
        return True

    def next(self, pool: str, tag_of: Callable[[str], int], may_send: Callable[[str], bool]) -> str | None:
        """The tenant whose turn it is in a pool, among those that ``may_send``; None when it is nobody's."""
        order = self._orders.get(pool, [])
        while order:
            tag, tenant = order[0]
            if (pool, tenant) not in self._lines:
                heapq.heappop(order)
                self._listed.discard((pool, tenant))
            elif tag != (now := tag_of(tenant)):
                heapq.heapreplace(order, (now, tenant))
            elif not may_send(tenant):
                heapq.heappop(order)
                self._listed.discard((pool, tenant))
                self._kept_back.setdefault(tenant, set()).add(pool)
            else:
                # Names decide between equal tags: the same memory chooses the same tenant.
                return tenant
        return None

    def line(self, pool: str, tenant: str) -> Iterator[Key]:
        """What a tenant has waiting for a pool, in its order."""
        return iter(self._lines[pool, tenant])

    def allow(self, tenant: str) -> None:
        """It might not send when it was asked, and may be able to now."""
        for pool in self._kept_back.pop(tenant, ()):
            if (pool, tenant) in self._lines:
                self._list(pool, tenant)

    def allow_all(self) -> None:
        """The rules have changed."""
        for tenant in list(self._kept_back):
            self.allow(tenant)

    def _list(self, pool: str, tenant: str) -> None:
        if (pool, tenant) not in self._listed:
            self._listed.add((pool, tenant))
            # Below any tag: its own is asked for when it comes to the top.
            heapq.heappush(self._orders.setdefault(pool, []), (-1, tenant))


class _Line(Generic[Key]):
    """A tenant's order in a pool: a heap in which what has left stays until it reaches the top, or is half of all."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Key]] = []
        self._gone: set[Key] = set()

    def __len__(self) -> int:
        return len(self._heap) - len(self._gone)

    def __iter__(self) -> Iterator[Key]:
        # The heap is walked from its top, so that the first few of ten thousand cost no sorting.
        if not self._heap:
            return
        ahead = [(self._heap[0], 0)]
        while ahead:
            (_, _, key), index = heapq.heappop(ahead)
            if key not in self._gone:
                yield key
            for child in (2 * index + 1, 2 * index + 2):
                if child < len(self._heap):
                    heapq.heappush(ahead, (self._heap[child], child))

    def add(self, entry: tuple[int, int, Key]) -> None:
        if entry[2] in self._gone:
            self._gone.discard(entry[2])
            self._heap = [old for old in self._heap if old[2] != entry[2]]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, entry)

    def remove(self, key: Key) -> None:
        self._gone.add(key)
        while self._heap and self._heap[0][2] in self._gone:
            self._gone.discard(heapq.heappop(self._heap)[2])
        if 2 * len(self._gone) > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2] not in self._gone]
            heapq.heapify(self._heap)
            self._gone.clear()
