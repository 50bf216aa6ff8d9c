"""Background tasks that end when they are told to."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

__all__ = ["end"]

log = logging.getLogger(__name__)

_PATIENCE_S = 4.0
"""More than an orderly end takes: cancelling that would leave connections behind."""
_LIMIT_S = 12.0


async def end(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks until they have ended, for at most 12 s.

    Once is not enough: a cancellation that meets a Kafka client's own timeout may be swallowed by it.
    """
    left = {task for task in tasks if task is not None and not task.done()}
    ends_at = asyncio.get_running_loop().time() + _LIMIT_S
    while left and asyncio.get_running_loop().time() < ends_at:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_PATIENCE_S)
    for task in left:
        log.error("the task %s did not end within %g s", task.get_name(), _LIMIT_S)
