"""Who may post now: so many at a time in a process, and the next is always of the tenant that has the fewest."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["Slots"]


class Slots:
    """The connections of a process. A quarter of them is out of reach for any one tenant.

    So one whose servers are all slow holds up nobody, and what is given back goes to those who have little of it.
    """

    def __init__(self, most: int) -> None:
        self._free = most
        self._each = max(1, most * 3 // 4)
        self._held = Counter[str]()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def of(self, tenant: str) -> AsyncIterator[None]:
        """A connection for as long as the tenant holds it; waited for without a limit, as every attempt has one."""
        await self._take(tenant)
        try:
            yield
        finally:
            self._give_back(tenant)

    async def _take(self, tenant: str) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, deque()).append(turn)
        self._hand_out()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back(tenant)
            raise

    def _give_back(self, tenant: str) -> None:
        self._free += 1
        self._held[tenant] -= 1
        if not self._held[tenant]:
            del self._held[tenant]
        self._hand_out()

    def _hand_out(self) -> None:
        while self._free and (tenant := self._next()) is not None:
            turns = self._waiting[tenant]
            turn = turns.popleft()
            if not turns:
                del self._waiting[tenant]
            if not turn.done():
                self._free -= 1
                self._held[tenant] += 1
                turn.set_result(None)

    def _next(self) -> str | None:
        """Whoever waits and has the fewest; among equals, who began to wait first."""
        may = [tenant for tenant in self._waiting if self._held[tenant] < self._each]
        return min(may, key=lambda tenant: self._held[tenant], default=None)
