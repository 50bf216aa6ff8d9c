"""How far an instance's partitions are behind what was published, looked up now and then beside the work."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from consumer.admission.partition import PartitionRunner
from transport.errors import TransportError
from transport.group import GroupConsumer

__all__ = ["watch_lag"]

_LOOK_S = 5.0


async def watch_lag(
    consumer: Callable[[], GroupConsumer | None], runners: Callable[[], Sequence[PartitionRunner]]
) -> None:
    """Show the lag of every partition until cancelled. Also of one in doubt: that is when it matters."""
    while True:
        await asyncio.sleep(_LOOK_S)
        member, owned = consumer(), runners()
        if member is None or not owned:
            continue
        with contextlib.suppress(TransportError):
            ends = await member.end_offsets([tp for runner in owned for tp in runner.inputs])
            for runner in owned:
                await runner.show_lag(ends)
