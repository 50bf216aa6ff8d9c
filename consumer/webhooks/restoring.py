"""A partition's book, read back from its topic and held against the topics that it speaks of."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from consumer.metrics import Metrics
from consumer.webhooks.book import Book
from schemas.settings import Settings
from schemas.topics import Topics
from transport.decided import require_decided
from transport.errors import Misconfigured
from transport.group import GroupConsumer
from transport.logs import logger
from transport.records import TopicPartition
from transport.tail import read_partition

__all__ = ["restore_book"]

_FIRST_START_MS = 24 * 3600 * 1000
"""A stage that runs for the first time begins with the events of the last day."""
# A broker that has just come back may for a moment know less than was read from it.
_ABOVE_RANGE_TRIES = 20
_ABOVE_RANGE_WAIT_S = 0.25

_log = logger("webhooks")


async def restore_book(
    book: Book,
    settings: Settings,
    consumer: GroupConsumer,
    partition: int,
    inputs: Sequence[TopicPartition],
    metrics: Metrics,
) -> bool:
    """Fill ``book`` as the last transaction left it. Call it after the fence: before, an older owner may still write.

    Returns whether it was empty: how far it begins has then to be written down.
    Raises ``Misconfigured`` where it is ahead of its topics, and ``Undecided`` while its end is hidden.
    """
    topic = Topics(settings.kafka.prefix).webhooks
    await require_decided(settings.kafka, [TopicPartition(topic, partition)])
    async for records in read_partition(settings.kafka, topic, partition):
        book.restore(records)
    book.restored()
    first = await consumer.beginning_offsets(inputs)
    empty = not book.next_offsets
    if empty:
        book.not_before_ms = int(time.time() * 1000) - _FIRST_START_MS
    end = await consumer.end_offsets(inputs)
    for _ in range(_ABOVE_RANGE_TRIES):
        if all(book.next_offsets.get(tp.topic, 0) <= end[tp] for tp in inputs):
            break
        await asyncio.sleep(_ABOVE_RANGE_WAIT_S)
        end = await consumer.end_offsets(inputs)
    for tp in inputs:
        found = book.next_offsets.get(tp.topic, first[tp])
        if found > end[tp]:
            raise Misconfigured(
                f"webhooks were read to {found}, the topic ends at {end[tp]}: it was made anew",
                f"delete and make {topic} anew too: what is still owed is then forgotten",
                where=f"{tp.topic}[{tp.partition}]",
            )
        if found < first[tp]:
            metrics.inc("easel_offsets_below_range_total", topic=tp.topic)
            _log.error("deleted before it was read", topic=tp.topic, partition=partition, next=found)
        book.next_offsets[tp.topic] = max(found, first[tp])
    return empty
