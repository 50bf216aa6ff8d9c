"""What Kafka still keeps of the events of one tenant: read from some time on to the end, and no further."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime, timedelta
from functools import partial

from producer_api.background import end
from schemas.connection import KafkaSettings
from transport.partitioning import partition_of
from transport.records import Record, TopicPartition
from transport.tail import Start, Tail

__all__ = ["history", "on_partition_of"]


def on_partition_of(tenant: str) -> Callable[[TopicPartition, int], bool]:
    """Whether a partition, of so many, holds what is said to ``tenant``: all of it stands on one of them."""
    return partial(_holds, tenant.encode())


async def history(
    kafka: KafkaSettings, topic: str, tenant: str, *, since: datetime | None = None
) -> AsyncGenerator[list[Record], None]:
    """The records on the tenant's partition of ``topic``, in batches, to its end at the time of the call.

    They begin with what the broker took at ``since``, or with the oldest that is kept.

    Raises ``TransportError``. Limit its time: a broker that is away is waited for.
    """
    start: Start = "earliest" if since is None else max(timedelta(0), datetime.now(UTC) - since)
    async with Tail(kafka, [topic], start=start, only=on_partition_of(tenant)) as tail:
        batches = aiter(tail)
        caught_up = asyncio.create_task(_wait(tail.caught_up))
        try:
            while True:
                batch = asyncio.ensure_future(anext(batches))
                await asyncio.wait((batch, caught_up), return_when=asyncio.FIRST_COMPLETED)
                if not batch.done():
                    await end(batch)
                    return
                yield await batch
        finally:
            await end(caught_up)


def _holds(key: bytes, tp: TopicPartition, count: int) -> bool:
    return tp.partition == partition_of(key, count)


async def _wait(event: asyncio.Event) -> None:
    await event.wait()
