"""Who may post now: so many at a time in a process, and no tenant more than its part of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

__all__ = ["Slots"]

_PARTS = 4
"""So many tenants, all of whose servers are slow, may hold everything up. One may not, whatever it asks for."""


@dataclass(slots=True)
class _Tenant:
    places: asyncio.Semaphore
    users: int = 0


class Slots:
    """The connections of a process. They are handed out in the order in which they are asked for."""

    def __init__(self, most: int) -> None:
        self._all = asyncio.Semaphore(most)
        self._each = -(-most // _PARTS)
        self._tenants: dict[str, _Tenant] = {}

    @asynccontextmanager
    async def of(self, tenant: str) -> AsyncIterator[None]:
        """A connection for as long as the tenant holds it; waited for without a limit, as every attempt has one."""
        own = self._tenants.setdefault(tenant, _Tenant(asyncio.Semaphore(self._each)))
        own.users += 1
        try:
            # Its own part first: who waits for it takes nothing of what others may have.
            async with own.places, self._all:
                yield
        finally:
            own.users -= 1
            if not own.users:
                del self._tenants[tenant]
