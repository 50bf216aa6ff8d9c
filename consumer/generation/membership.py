"""A worker's place in its group: which partitions it reads, from where, and what it commits.

The poll never waits for a picture: however long a job takes, its member stays in the group.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from consumer.faults import fault
from consumer.generation.backlog import Backlog
from consumer.metrics import Metrics
from schemas.settings import Settings
from schemas.topics import Topics
from transport.errors import Doubt, Fenced, Misconfigured, OffsetsUnknown, TransportError, Unavailable
from transport.group import GroupConsumer
from transport.logs import logger
from transport.records import Record, TopicPartition

__all__ = ["Membership"]

_POLL_S = 0.25
_RETRY_S = 0.5
_COMMIT_EVERY_S = 0.2
# A partition's end may be behind for a moment after its broker was killed.
_BEYOND_END_S = 10.0
_MOST_WAITING = 256
"""Jobs here beyond which no more are fetched; others' records stay where another worker can get at them."""

_log = logger("generation")


class Membership:
    """Joins, reads, commits and leaves. ``take`` gets each record of an owned partition and must not wait."""

    def __init__(
        self,
        settings: Settings,
        backlog: Backlog,
        take: Callable[[Record], None],
        metrics: Metrics,
        on_rebalance: Callable[[], None],
    ) -> None:
        """``on_rebalance`` is called when partitions were taken away, and when they were given."""
        self._settings = settings
        self._on_rebalance = on_rebalance
        self._backlog = backlog
        self._take = take
        self._metrics = metrics
        self._pool = settings.generation.pool
        self._topic = Topics(settings.kafka.prefix).jobs(self._pool)
        self._consumer: GroupConsumer | None = None
        self._placing: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._full = False
        self._draining = False
        self.joined = False
        """Whether the group has given partitions, or told that there are none to spare."""

    @property
    def partitions(self) -> list[int]:
        """What this worker reads now."""
        return sorted(tp.partition for tp in self._backlog.offsets.owned())

    async def run(self) -> None:
        """Be a member until cancelled. Raises ``Misconfigured`` for what only a person can mend."""
        while True:
            self._consumer = consumer = self._new_consumer()
            beside = [asyncio.create_task(self._commit_as_it_comes(consumer)), asyncio.create_task(self._make_room())]
            for task in beside:
                task.add_done_callback(self._heard)
            try:
                await consumer.start()
                while True:
                    await self._poll(consumer)
            except (Doubt, Unavailable) as error:
                _log.warning("the membership broke down: join again", reason=str(error))
            finally:
                for task in beside:
                    task.cancel()
                await self._leave(consumer)
            await asyncio.sleep(_RETRY_S)

    def drain(self) -> None:
        """Fetch nothing more, but stay in the group until what runs has ended."""
        self._draining = True
        self._throttle()

    def _new_consumer(self) -> GroupConsumer:
        generation = self._settings.generation
        return GroupConsumer(
            self._settings.kafka,
            group=Topics(self._settings.kafka.prefix).group(f"generation.{self._pool}"),
            topics=[self._topic],
            assignor="sticky",
            session_timeout_s=generation.session_timeout_s,
            max_poll_interval_s=generation.max_poll_interval_s,
            on_assigned=self._on_assigned,
            on_revoked=self._on_revoked,
        )

    async def _poll(self, consumer: GroupConsumer) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            records = await consumer.poll(_POLL_S)
        except OffsetsUnknown as error:
            # Records that nobody had read yet are gone: find out where to go on.
            self._backlog.revoke(error.partitions)
            self._place(consumer, error.partitions)
            return
        # No await before the end of the loop: these partitions are owned until then.
        for record in records:
            self._take(record)
        self._throttle()

    def _throttle(self) -> None:
        waiting = self._backlog.waiting
        self._metrics.set("easel_generation_jobs_buffered", waiting)
        full = self._draining or waiting >= (_MOST_WAITING // 2 if self._full else _MOST_WAITING)
        consumer = self._consumer
        if consumer is None or full == self._full:
            return
        self._full = full
        for tp in self._backlog.offsets.owned():
            (consumer.pause if full else consumer.resume)(tp)

    def _on_assigned(self, partitions: frozenset[TopicPartition]) -> None:
        self.joined = True
        self._metrics.set("easel_generation_partitions_owned", len(partitions))
        _log.info("assigned", partitions=sorted(tp.partition for tp in partitions))
        self._on_rebalance()
        if self._consumer is not None:
            self._place(self._consumer, partitions)

    def _on_revoked(self, partitions: frozenset[TopicPartition]) -> None:
        if self._placing is not None:
            self._placing.cancel()
        self._backlog.revoke(partitions)
        self._on_rebalance()

    def _place(self, consumer: GroupConsumer, partitions: frozenset[TopicPartition]) -> None:
        before = self._placing
        self._placing = asyncio.create_task(self._find_places(consumer, partitions, before))
        self._placing.add_done_callback(self._heard)

    def _heard(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            # Partitions that nobody ever releases, or commits, would look like those of an idle worker.
            self._failure = error

    async def _find_places(
        self, consumer: GroupConsumer, partitions: frozenset[TopicPartition], before: asyncio.Task[None] | None
    ) -> None:
        if before is not None:
            await asyncio.wait([before])
        began = time.monotonic()
        while partitions:
            try:
                committed = await consumer.committed(partitions)
                first = await consumer.beginning_offsets(partitions)
                end = await consumer.end_offsets(partitions)
            except TransportError as error:
                if isinstance(error, Misconfigured):
                    raise
                _log.warning("can't learn where to begin", reason=str(error))
                await asyncio.sleep(_RETRY_S)
                continue
            beyond = {tp for tp in partitions if (committed[tp] or 0) > end[tp]}
            for tp in partitions - beyond:
                self._begin(consumer, tp, committed[tp], first[tp], end[tp])
            if beyond and time.monotonic() - began > _BEYOND_END_S:
                raise self._made_anew(min(beyond), committed, end)
            partitions = frozenset(beyond)
            if partitions:
                await asyncio.sleep(_RETRY_S)

    def _begin(self, consumer: GroupConsumer, tp: TopicPartition, committed: int | None, first: int, end: int) -> None:
        start = first if committed is None else committed
        if start < first:
            self._metrics.inc("easel_offsets_below_range_total", topic=tp.topic)
            _log.error(
                "jobs were deleted before they were read: raise the topic's retention",
                partition=tp.partition,
                committed=committed,
                first=first,
            )
            start = first
        with contextlib.suppress(Fenced):
            consumer.release(tp, start)
            self._backlog.offsets.assign(tp, start, end)
            if self._full:
                consumer.pause(tp)

    def _made_anew(
        self, tp: TopicPartition, committed: dict[TopicPartition, int | None], end: dict[TopicPartition, int]
    ) -> Misconfigured:
        group = Topics(self._settings.kafka.prefix).group(f"generation.{self._pool}")
        return Misconfigured(
            f"{tp.topic}[{tp.partition}] ends at {end[tp]}, but the group {group} has read up to {committed[tp]}",
            "the topic was made anew: delete the group's offsets (kafka-consumer-groups --delete-offsets), "
            "and its jobs are read from the beginning",
        )

    async def _commit_as_it_comes(self, consumer: GroupConsumer) -> None:
        while True:
            await self._backlog.completed.wait()
            self._backlog.completed.clear()
            await self._commit(consumer)
            await asyncio.sleep(_COMMIT_EVERY_S)

    async def _make_room(self) -> None:
        """Fetch again as jobs end. The poll can't see to that: it waits for records, of which none come meanwhile."""
        while True:
            await self._backlog.lessened.wait()
            self._backlog.lessened.clear()
            self._throttle()

    async def _commit(self, consumer: GroupConsumer) -> None:
        due = self._backlog.offsets.due()
        if not due:
            return
        fault("generation.before_offset_commit")
        try:
            await consumer.commit(due)
        except Fenced:
            # A rebalance: whoever owns the partition now finds the outcome's manifest.
            return
        except TransportError as error:
            _log.warning("offsets will be committed later", reason=str(error))
            self._backlog.completed.set()
            return
        self._backlog.offsets.committed(due)

    async def _leave(self, consumer: GroupConsumer) -> None:
        self._consumer = None
        self.joined = False
        if self._placing is not None:
            self._placing.cancel()
            self._placing = None
        try:
            await self._commit(consumer)
        finally:
            self._backlog.revoke(self._backlog.offsets.owned())
            await consumer.stop()
