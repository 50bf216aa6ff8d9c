"""Consumers without a group: they read where they are told, and commit nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import aiokafka

from schemas.connection import KafkaSettings
from transport.batches import MAX_RECORD_BYTES
from transport.errors import limited
from transport.kafka import client_options
from transport.records import TopicPartition
from transport.teardown import end_consumer

__all__ = ["Isolation", "bounds", "open_reader", "read_bounds"]

Isolation = Literal["read_committed", "read_uncommitted"]

_RETRY_BACKOFF_MS = 50
_CALL_S = 10.0


async def open_reader(
    settings: KafkaSettings, isolation: Isolation, *, timeout_s: float, metadata_max_age_ms: int = 300_000
) -> Any:
    """A connected aiokafka consumer without group and assignment; end it with `end_consumer`.

    Raises:
        Unavailable: no broker answered within ``timeout_s`` seconds.
    """
    consumer = aiokafka.AIOKafkaConsumer(
        **client_options(settings),
        group_id=None,
        # The client must never choose a position by itself: every reader of ours seeks.
        auto_offset_reset="none",
        enable_auto_commit=False,
        isolation_level=isolation,
        max_partition_fetch_bytes=2 * MAX_RECORD_BYTES,
        metadata_max_age_ms=metadata_max_age_ms,
        retry_backoff_ms=_RETRY_BACKOFF_MS,
    )
    try:
        async with limited("connecting", settings.bootstrap_servers, timeout_s):
            await consumer.start()
    except BaseException:
        await end_consumer(consumer)
        raise
    return consumer


async def bounds(consumer: Any, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
    """The first offset and the end (the last stable offset under ``read_committed``) of each partition."""
    # The end first: what is appended meanwhile is then after it, and what is deleted meanwhile before the beginning.
    ends = await consumer.end_offsets(partitions)
    firsts = await consumer.beginning_offsets(partitions)
    return {tp: (firsts[tp], max(ends[tp], firsts[tp])) for tp in partitions}


async def read_bounds(
    settings: KafkaSettings,
    partitions: Iterable[TopicPartition],
    *,
    isolation: Isolation = "read_committed",
    timeout_s: float = _CALL_S,
) -> dict[TopicPartition, tuple[int, int]]:
    """`bounds`, by a consumer of its own.

    Raises:
        Unavailable: no answer within ``timeout_s`` seconds.
    """
    consumer = await open_reader(settings, isolation, timeout_s=timeout_s)
    try:
        async with limited("reading where partitions begin and end", settings.bootstrap_servers, timeout_s):
            return await bounds(consumer, list(partitions))
    finally:
        await end_consumer(consumer)
