"""The store's answer while a caller waits: soon, or none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from transport.errors import Unavailable

__all__ = ["soon"]

_SOON_S = 2.5
"""Less than a caller's patience; the store's own limit is for work in the background."""

_T = TypeVar("_T")


async def soon(call: Awaitable[_T]) -> _T:
    """What ``call`` says. Raises ``Unavailable`` when it says nothing within 2.5 s, and what it raises itself."""
    try:
        async with asyncio.timeout(_SOON_S):
            return await call
    except TimeoutError:
        raise Unavailable(f"the store did not answer within {_SOON_S:g} s", "is it up and reachable?") from None
