"""Requests that a ledger remembers, written as admission writes them: what a busy installation has after some days."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator

from consumer.admission.ledger import request_record
from consumer.admission.state import EndedRequest, RequestKey
from ops.bench.pipeline.installation import PARTITIONS, Installation
from schemas.ids import new_id
from schemas.topics import Topics
from transport.records import Outgoing
from transport.transactions import FencedProducer

__all__ = ["remember"]

_AT_ONCE = 2_000
_HOUR_MS = 3_600_000


def remember(installation: Installation, number: int, now_ms: int) -> None:
    """Add ``number`` ended requests to the ledgers, as many to each, while no service runs."""
    asyncio.run(_write(installation, number // PARTITIONS, now_ms))


async def _write(installation: Installation, each: int, now_ms: int) -> None:
    kafka, topics = installation.settings.kafka, Topics(installation.prefix)
    for partition in range(PARTITIONS):
        tenants = installation.tenants_of(partition)
        producer = FencedProducer(kafka, transactional_id=f"{kafka.prefix}-admission-{partition}")
        await producer.start()
        try:
            for first in range(0, each, _AT_ONCE):
                keys = (
                    RequestKey(tenants[n % len(tenants)], new_id()) for n in range(first, min(each, first + _AT_ONCE))
                )
                await producer.commit(
                    list(_records(topics.ledger, partition, keys, now_ms)), {}, topics.group("admission")
                )
        finally:
            await producer.close()


def _records(topic: str, partition: int, keys: Iterator[RequestKey], now_ms: int) -> Iterator[Outgoing]:
    for key in keys:
        body = hashlib.sha256(key.request_id.encode()).hexdigest()
        ended = EndedRequest(key, "succeeded", body, now_ms, now_ms + 72 * _HOUR_MS)
        yield request_record(topic, partition, key, ended)
