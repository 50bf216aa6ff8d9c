"""That nothing of a partition is hidden: who reads what is committed sees only what lies before an open transaction."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from schemas.connection import KafkaSettings
from transport.errors import Undecided, limited
from transport.reader import open_reader, read_bounds
from transport.records import TopicPartition
from transport.teardown import end_consumer

__all__ = ["require_decided"]

_WITHIN_S = 5.0
"""The markers of what a fence aborted are written before it ends; a broker that has just come back may be slower."""
_LOOK_S = 0.05
_CALL_S = 10.0


async def require_decided(settings: KafkaSettings, partitions: Iterable[TopicPartition]) -> None:
    """Everything that has been written to these by now can be read, or is undone: at once, or within 5 s.

    Call it after the fence, where one writer's transactions are meant: they have no business there then.

    Raises:
        Undecided: a transaction stays open and hides what lies behind it.
        Unavailable: no answer within 10 s.
    """
    wanted = list(partitions)
    written = await read_bounds(settings, wanted, isolation="read_uncommitted")
    reader = await open_reader(settings, "read_committed", timeout_s=_CALL_S)
    deadline = time.monotonic() + _WITHIN_S
    try:
        while True:
            async with limited("reading what is decided", settings.bootstrap_servers, _CALL_S):
                ends = await reader.end_offsets(wanted)
            hidden = [tp for tp in wanted if ends[tp] < written[tp][1]]
            if not hidden:
                return
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(_LOOK_S)
    finally:
        await end_consumer(reader)
    first = hidden[0]
    others = f", and of {len(hidden) - 1} other partitions" if len(hidden) > 1 else ""
    raise Undecided(
        f"a transaction hides the end of {first.topic}[{first.partition}], offsets {ends[first]} to"
        f" {written[first][1] - 1}{others}",
        "if the broker has lost the end of one, `kafka-transactions.sh find-hanging` and `abort` end it;"
        " docs/operations.md says more",
        where=settings.bootstrap_servers,
    )
