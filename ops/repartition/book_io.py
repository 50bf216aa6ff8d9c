"""Partitions of the ledger, read whole, and records written to them many at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from ops.repartition.plan import Book
from schemas.connection import KafkaSettings
from schemas.topics import Topics
from transport.kafka import Publisher
from transport.records import Outgoing
from transport.tail import read_partition

__all__ = ["read_book", "write"]

_AT_ONCE = 500


async def read_book(kafka: KafkaSettings, partition: int) -> Book:
    """The partition as it stands now. Raises ``TransportError``."""
    latest: dict[bytes, bytes] = {}
    async for records in read_partition(kafka, Topics(kafka.prefix).ledger, partition):
        for record in records:
            if record.key is None:
                continue
            if record.value is None:
                latest.pop(record.key, None)
            else:
                latest[record.key] = record.value
    return Book(partition, latest)


async def write(publisher: Publisher, records: Iterable[Outgoing]) -> int:
    """Write all, each acknowledged; how many they were. Raises ``TransportError``."""
    written, batch = 0, list[Outgoing]()
    for record in records:
        batch.append(record)
        if len(batch) == _AT_ONCE:
            written += await _write(publisher, batch)
            batch = []
    return written + await _write(publisher, batch)


async def _write(publisher: Publisher, batch: list[Outgoing]) -> int:
    await asyncio.gather(*(publisher.publish(record, timeout_s=60.0) for record in batch))
    return len(batch)
