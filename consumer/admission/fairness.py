"""Whose turn is it? Start-time fair queueing over units, weighted by tenant; inside a tenant priority, then age.

Each tenant has a tag, kept in its account: how far it has been served, in units of work divided by its weight. The
tenant with the lowest tag is next, and its tag moves on by what was sent. One that was away begins at the partition's
own time, so nobody saves up turns. Of two tenants that both wait, neither is ever ahead by more than one request of
each, by weight. Work is counted before prices: who pays less for a unit does not get more of the fleet.
Source: Goyal, Vin, Cheng: Start-time Fair Queuing (1996), with one tag a tenant in place of one a packet.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable
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
    """What waits on one partition."""

    def __init__(self) -> None:
        self._queues: dict[str, list[tuple[int, int, Key]]] = {}
        self._waiting: dict[Key, str] = {}
        self._count: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def of(self, tenant: str) -> int:
        """How many of a tenant's wait."""
        return self._count.get(tenant, 0)

    def add(self, key: Key, tenant: str, rank: int, sequence: int) -> None:
        """It waits from now on. ``sequence`` decides between equal ranks."""
        if key in self._waiting:
            return
        self._waiting[key] = tenant
        self._count[tenant] = self.of(tenant) + 1
        heapq.heappush(self._queues.setdefault(tenant, []), (rank, sequence, key))

    def remove(self, key: Key) -> None:
        """It waits no more: it was sent, or it ended."""
        tenant = self._waiting.pop(key, None)
        if tenant is None:
            return
        self._count[tenant] -= 1
        if not self._count[tenant]:
            del self._count[tenant], self._queues[tenant]

    def next(self, tag_of: Callable[[str], int], may_send: Callable[[str], bool]) -> Key | None:
        """Who is next among the tenants that ``may_send``; None when nobody is."""
        ready = [tenant for tenant in self._count if may_send(tenant)]
        if not ready:
            return None
        # Names decide between equal tags: the same memory chooses the same tenant.
        queue = self._queues[min(ready, key=lambda tenant: (tag_of(tenant), tenant))]
        while queue[0][2] not in self._waiting:
            heapq.heappop(queue)
        return queue[0][2]
