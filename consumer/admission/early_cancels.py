"""Cancels that came before their requests: a reroute may let the later one arrive first.

Kept for a while by the broker's clock, and of each tenant no more than ``MOST_OF_A_TENANT``: for a new one the one that
ends first makes room.
"""

from __future__ import annotations

import heapq

from consumer.admission.keys import RequestKey

__all__ = ["MOST_OF_A_TENANT", "REMEMBERED_MS", "EarlyCancels"]

REMEMBERED_MS = 10 * 60_000
MOST_OF_A_TENANT = 1_000


class EarlyCancels:
    """Until when each is remembered."""

    def __init__(self) -> None:
        self._until: dict[str, dict[RequestKey, int]] = {}
        self._ends: list[tuple[int, RequestKey]] = []

    def holds(self, key: RequestKey, at_ms: int) -> bool:
        """Whether one is remembered at this moment."""
        return self._until.get(key.tenant, {}).get(key, 0) > at_ms

    def content(self) -> dict[RequestKey, int]:
        """All of them."""
        return {key: until_ms for of_tenant in self._until.values() for key, until_ms in of_tenant.items()}

    def put(self, key: RequestKey, until_ms: int | None) -> None:
        """Remember one until then, or forget it."""
        of_tenant = self._until.setdefault(key.tenant, {})
        if until_ms is None:
            of_tenant.pop(key, None)
            if not of_tenant:
                del self._until[key.tenant]
            return
        of_tenant[key] = until_ms
        heapq.heappush(self._ends, (until_ms, key))

    def crowded_out_by(self, key: RequestKey) -> RequestKey | None:
        """Which one makes room for ``key``; None when there is room."""
        of_tenant = self._until.get(key.tenant, {})
        if key in of_tenant or len(of_tenant) < MOST_OF_A_TENANT:
            return None
        return min(of_tenant, key=lambda known: (of_tenant[known], known))

    def due(self, at_ms: int, most: int) -> list[RequestKey]:
        """Up to ``most`` whose time is over."""
        due: list[RequestKey] = []
        while self._ends and self._ends[0][0] <= at_ms and len(due) < most:
            until_ms, key = heapq.heappop(self._ends)
            if self._until.get(key.tenant, {}).get(key) == until_ms:
                due.append(key)
        return due
