"""Reading without a group: one partition to its end, or whole topics for as long as one likes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Literal, Self

import aiokafka.errors as kafka

from schemas.connection import KafkaSettings
from transport.errors import Misconfigured, OffsetsUnknown, TransportError, Unavailable, limited, translated
from transport.reader import Isolation, bounds, open_reader
from transport.records import Record, TopicPartition, records_of
from transport.teardown import end_consumer

__all__ = ["Start", "Tail", "read_partition"]

log = logging.getLogger(__name__)

Start = Literal["earliest", "latest"] | timedelta | Mapping[TopicPartition, int]
"""Where a `Tail` begins: at an end of the logs, so long ago, or at stored positions (the earliest where none is)."""

# Markers of transactions move the position without waking the reader: until the end is reached it looks by itself.
_LOOK_MS = 20
_WAIT_MS = 500
_REMEDY = "grant the user the access that its role needs; `easel topics acls` says which that is"
_CALL_S = 10.0
_RECONNECT_S = 0.5
# New topics and partitions are noticed within this time.
_METADATA_MS = 5_000
# A broker that has just come back may for a moment know less than we have read.
_BEHIND_S = 5.0


async def read_partition(
    settings: KafkaSettings,
    topic: str,
    partition: int,
    *,
    from_offset: int | None = None,
    since_ms: int | None = None,
    isolation: Isolation = "read_committed",
    timeout_s: float = _CALL_S,
) -> AsyncGenerator[list[Record], None]:
    """The records of a partition, in batches, to its end at the time of the call.

    They begin at ``from_offset``, or with the first that the broker took at ``since_ms`` or later, or at the beginning.
    ``timeout_s`` limits each wait without progress, not the whole. Under ``read_committed`` the end is the last stable
    offset: an open transaction, and all that follows it, is not waited for.

    Raises:
        Unavailable: no answer, or no progress, for ``timeout_s`` seconds.
        OffsetsUnknown: ``from_offset`` lies outside the log.
    """
    tp = TopicPartition(topic, partition)
    where = f"{topic}[{partition}] at {settings.bootstrap_servers}"
    consumer = await open_reader(settings, isolation, timeout_s=timeout_s)
    try:
        async with limited("reading where the partition begins and ends", where, timeout_s):
            first, end = (await bounds(consumer, [tp]))[tp]
            if since_ms is not None:
                found = (await consumer.offsets_for_times({tp: since_ms}))[tp]
                from_offset = end if found is None else min(max(found.offset, first), end)
        position = first if from_offset is None else from_offset
        if not first <= position <= end:
            raise OffsetsUnknown(
                f"offset {position} is outside the log, which goes from {first} to {end}", where=where, partitions=[tp]
            )
        consumer.assign([tp])
        consumer.seek(tp, position)
        progress = time.monotonic()
        while position < end:
            async with limited("reading", where, timeout_s):
                messages = (await consumer.getmany(tp, timeout_ms=_LOOK_MS)).get(tp, ())
                reached = await consumer.position(tp)
            if reached != position:
                position, progress = reached, time.monotonic()
            elif time.monotonic() - progress > timeout_s:
                raise Unavailable(f"no progress at offset {position} of {end}", "is the broker up?", where=where)
            records = records_of(m for m in messages if m.offset < end)
            if records:
                yield records
                progress = time.monotonic()
    finally:
        await end_consumer(consumer)


class Tail:
    """Follows all partitions of ``topics``, those that appear later too, and outlives restarts of the broker.

    Use it as a context manager and iterate over it; each batch is a non-empty list, in order within a partition. Topics
    and partitions that appear later are read from their beginning.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topics: Sequence[str],
        *,
        start: Start = "earliest",
        read_committed: bool = True,
        only: Callable[[TopicPartition, int], bool] | None = None,
    ) -> None:
        """``only(tp, count)``: whether to follow this one of the topic's ``count`` partitions; all are when absent."""
        self._settings = settings
        self._topics = tuple(topics)
        self._start = start
        self._only = only
        self._isolation: Isolation = "read_committed" if read_committed else "read_uncommitted"
        self._where = f"{', '.join(topics)} at {settings.bootstrap_servers}"
        self._consumer: Any = None
        self._next: dict[TopicPartition, int] = {}
        self._goal: dict[TopicPartition, int] = {}
        self._behind_since: float | None = None
        self.skipped = 0
        """Offsets that the brokers had deleted before they could be read."""
        self.caught_up = asyncio.Event()
        """Set once everything that was there at the start has been handed out, and the iterator asked for more."""

    def positions(self) -> dict[TopicPartition, int]:
        """The next offset of each partition after the batches handed out so far; a later `Tail` may start there."""
        return dict(self._next)

    async def __aenter__(self) -> Self:
        """Connects and fixes where to start.

        Raises:
            Unavailable: no broker answered within 10 s.
            Misconfigured: this user may not read a topic.
            OffsetsUnknown: a stored position lies beyond the end of its log: the topic was made anew.
        """
        try:
            await self._connect()
            await self._discover(self._start)
        except BaseException:
            await self._disconnect()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._disconnect()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Record]:
        """The next batch, waited for without a limit.

        Raises:
            OffsetsUnknown: a topic was made anew.
            Misconfigured: the cluster refuses this client.
        """
        while True:
            if not self.caught_up.is_set() and all(self._next[tp] >= end for tp, end in self._goal.items()):
                self.caught_up.set()
            try:
                if self._consumer is None:
                    await self._connect()
                    self._assign()
                await self._discover("earliest")
                records = await self._poll()
            except (Misconfigured, OffsetsUnknown):
                raise
            except TransportError as err:
                log.warning("following %s was interrupted, connecting again: %s", self._where, err)
                await self._disconnect()
                await asyncio.sleep(_RECONNECT_S)
                continue
            if records:
                return records

    async def _connect(self) -> None:
        self._consumer = await open_reader(
            self._settings, self._isolation, timeout_s=_CALL_S, metadata_max_age_ms=_METADATA_MS
        )
        async with limited("reading the topics' partitions", self._where, _CALL_S):
            await self._consumer._client.set_topics(self._topics)

    async def _disconnect(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await end_consumer(consumer)

    async def _discover(self, start: Start) -> None:
        """Takes up the partitions that are not followed yet."""
        new: list[TopicPartition] = []
        hidden = self._consumer._client.cluster.unauthorized_topics.intersection(self._topics)
        if hidden:
            # The client would look again for ever, and say nothing.
            raise Misconfigured(
                f"this user may not read {', '.join(sorted(hidden))}", _REMEDY, where=self._settings.bootstrap_servers
            )
        for topic in self._topics:
            numbers = self._consumer.partitions_for_topic(topic) or ()
            found = (TopicPartition(topic, number) for number in numbers)
            new += [tp for tp in found if tp not in self._next and self._wanted(tp, len(numbers))]
        if not new:
            return
        async with limited("reading where the partitions begin and end", self._where, _CALL_S):
            log_bounds = await bounds(self._consumer, new)
            chosen = await self._chosen(start, log_bounds)
        for tp, (first, end) in log_bounds.items():
            self._next[tp] = self._within(tp, chosen[tp], first, end)
        if not self.caught_up.is_set():
            self._goal.update({tp: end for tp, (_, end) in log_bounds.items()})
        self._assign()

    def _wanted(self, tp: TopicPartition, count: int) -> bool:
        return self._only is None or self._only(tp, count)

    async def _chosen(
        self, start: Start, log_bounds: Mapping[TopicPartition, tuple[int, int]]
    ) -> dict[TopicPartition, int]:
        if isinstance(start, timedelta):
            since_ms = int((time.time() - start.total_seconds()) * 1_000)
            found = await self._consumer.offsets_for_times(dict.fromkeys(log_bounds, since_ms))
            return {tp: found[tp].offset if found[tp] else end for tp, (_, end) in log_bounds.items()}
        if isinstance(start, Mapping):
            return {tp: start.get(tp, first) for tp, (first, _) in log_bounds.items()}
        return {tp: end if start == "latest" else first for tp, (first, end) in log_bounds.items()}

    def _within(self, tp: TopicPartition, offset: int, first: int, end: int) -> int:
        if offset > end:
            raise OffsetsUnknown(
                f"{tp.topic}[{tp.partition}] ends at {end}, before the position {offset}",
                "the topic was made anew: forget the stored positions and read it from its beginning",
                where=self._where,
                partitions=[tp],
            )
        if offset < first:
            self.skipped += first - offset
            log.warning("%s[%d] begins at %d: %d offsets were deleted unread", *tp, first, first - offset)
        return max(offset, first)

    def _assign(self) -> None:
        # No await between these lines: a partition without a position would ask for a reset.
        self._consumer.assign(list(self._next))
        for tp, offset in self._next.items():
            self._consumer.seek(tp, offset)
        # `assign` follows only the topics that have partitions; the others may come yet.
        self._consumer._client.set_topics(self._topics)

    async def _poll(self) -> list[Record]:
        try:
            found = await self._consumer.getmany(timeout_ms=_WAIT_MS if self.caught_up.is_set() else _LOOK_MS)
        except kafka.OffsetOutOfRangeError as err:
            await self._recover(err.args[0])
            return []
        except Exception as err:
            raise translated(err, "following", self._where) from err
        self._behind_since = None
        moved: Iterable[TopicPartition] = found or self._next
        for tp in list(moved):
            self._next[tp] = await self._consumer.position(tp)
        return [record for messages in found.values() for record in records_of(messages)]

    async def _recover(self, partitions: Iterable[TopicPartition]) -> None:
        async with limited("reading where the partitions begin and end", self._where, _CALL_S):
            log_bounds = await bounds(self._consumer, list(partitions))
        self._behind_since = self._behind_since or time.monotonic()
        for tp, (first, end) in log_bounds.items():
            if self._next[tp] <= end or time.monotonic() - self._behind_since > _BEHIND_S:
                self._next[tp] = self._within(tp, self._next[tp], first, end)
                self._consumer.seek(tp, self._next[tp])
        await asyncio.sleep(_RECONNECT_S)
