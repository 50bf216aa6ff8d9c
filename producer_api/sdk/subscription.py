"""Results for a service of one's own: every one to a handler, in a consumer group, at least once or exactly once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import suppress
from types import TracebackType
from typing import Self, get_args

from producer_api.sdk.exceptions import Unreachable
from producer_api.sdk.lanes import Handler, Lane, Positions, Received
from producer_api.wire import TenantEvent, Terminal
from schemas.connection import KafkaSettings
from schemas.topics import Topics
from transport.errors import Doubt, Fenced, Misconfigured, OffsetsUnknown, TransportError, Unavailable
from transport.group import GroupConsumer
from transport.records import Record, TopicPartition

__all__ = ["RESULTS", "Handler", "Positions", "Received", "Subscription"]

log = logging.getLogger(__name__)

RESULTS: tuple[type[TenantEvent], ...] = get_args(Terminal)
"""The events that end a request."""

_POLL_S = 0.2
_COMMIT_S = 1.0
_AGAIN_S = 1.0
_DRAIN_S = 30.0


class Subscription:
    """One member of ``group``; start as many as you like, in one process or several, and they share the partitions.

    ``handler`` gets each result of ``tenant`` (of all that the topic holds, when None), those of one tenant in their
    order. Partitions are handled beside each other. An event that was handled is not given again to this process, but
    after a crash or when a partition moves to another member, the last ones may be: **at least once**. What makes it
    **exactly once** is a store of one's own: the handler writes ``received.next_offset`` with what it does, in one
    transaction, and ``positions`` reads it back when a partition comes; the group's own offsets are then not used. Let
    the write fail unless it finds the offset that ``received.offset`` follows: a member that was thought dead may wake.

    A handler that raises is called again, five times in some seconds; then ``run`` ends with ``HandlerFailed``, and the
    event is where the next start begins. Of a new group, the oldest results that are kept (7 days) come first.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        handler: Handler,
        *,
        group: str,
        tenant: str | None = None,
        own_topic: bool = False,
        types: tuple[type[TenantEvent], ...] = RESULTS,
        positions: Positions | None = None,
        session_timeout_s: float = 10.0,
    ) -> None:
        topics = Topics(kafka.prefix)
        self._kafka = kafka
        self._group = group
        self._topic = topics.results_of(tenant) if own_topic and tenant is not None else topics.results
        self._handler = handler
        self._tenant = tenant
        self._types = types
        self._positions = positions
        self._session_s = session_timeout_s
        self._stopping = asyncio.Event()
        self._owned: frozenset[TopicPartition] = frozenset()
        self._rebalances = 0
        self._lanes: dict[TopicPartition, Lane] = {}
        self._running: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """Let the events that are being handled end, for at most 30 s, and begin no other; ``run`` then returns."""
        self._stopping.set()

    async def run(self) -> None:
        """Handle results until ``stop``. A broker that is away is waited for.

        Raises:
            HandlerFailed: the handler can't handle an event.
            Unreachable: Kafka refuses this client; the message says why.
        """
        while not self._stopping.is_set():
            try:
                await self._as_a_member()
            except (Doubt, Unavailable) as error:
                log.warning("the membership of %s ended, beginning another: %s", self._group, error)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), _AGAIN_S)
            except TransportError as error:
                raise Unreachable(str(error)) from error

    async def __aenter__(self) -> Self:
        """Run beside what is in the block, and stop at its end."""
        self._running = asyncio.create_task(self.run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._running is not None:
            await self._running

    async def _as_a_member(self) -> None:
        consumer = GroupConsumer(
            self._kafka,
            group=self._group,
            topics=[self._topic],
            assignor="sticky",
            session_timeout_s=self._session_s,
            on_assigned=self._assigned,
            on_revoked=self._revoked,
        )
        await consumer.start()
        opening: asyncio.Task[None] | None = None
        try:
            opened, commit_at = -1, 0.0
            while not self._stopping.is_set():
                if opened != self._rebalances:
                    opened = self._rebalances
                    await _broken_off(opening)
                    opening = asyncio.create_task(self._open(consumer, self._owned, opened))
                for records in _by_partition(await self._poll(consumer)):
                    self._give(consumer, records)
                if opening is not None and opening.done():
                    opening.result()
                self._raise_failures()
                if asyncio.get_running_loop().time() >= commit_at:
                    await self._commit(consumer)
                    commit_at = asyncio.get_running_loop().time() + _COMMIT_S
        finally:
            await _broken_off(opening)
            await self._drain()
            await self._commit(consumer)
            await consumer.stop()
        self._raise_failures()

    def _assigned(self, partitions: frozenset[TopicPartition]) -> None:
        self._owned = partitions
        self._rebalances += 1

    def _revoked(self, partitions: frozenset[TopicPartition]) -> None:  # noqa: ARG002 - rebalancing is eager: all
        self._owned = frozenset()
        self._rebalances += 1
        for lane in self._lanes.values():
            lane.close()

    async def _poll(self, consumer: GroupConsumer) -> list[Record]:
        try:
            return await consumer.poll(_POLL_S)
        except OffsetsUnknown as error:
            log.error("results were deleted before they were handled, going on with the oldest that is left: %s", error)
            for tp, first in (await consumer.beginning_offsets(error.partitions)).items():
                consumer.release(tp, first)
            return []

    async def _open(self, consumer: GroupConsumer, partitions: frozenset[TopicPartition], rebalance: int) -> None:
        await asyncio.gather(*(self._open_one(consumer, tp, rebalance) for tp in partitions))

    async def _open_one(self, consumer: GroupConsumer, tp: TopicPartition, rebalance: int) -> None:
        """Find where a new partition is to begin, once what was being handled of it before has ended."""
        before = self._lanes.get(tp)
        if before is not None:
            await before.idle()
        first = (await consumer.beginning_offsets([tp]))[tp]
        if self._positions is not None:
            stored = await self._positions(tp.topic, tp.partition)
        else:
            stored = (await consumer.committed([tp]))[tp]
            if before is not None:
                # What was handled but not yet committed is not begun again.
                stored = max(stored or 0, before.next_offset)
        if rebalance != self._rebalances:
            return
        if stored is not None and stored < first:
            log.error("%s[%d]: %d offsets were deleted before they were handled", *tp, first - stored)
        start = max(first, stored or 0)
        self._lanes[tp] = Lane(
            self._handler, start, tenant=self._tenant, types=self._types, committed=stored, before=before
        )
        with suppress(Fenced):
            consumer.release(tp, start)

    def _give(self, consumer: GroupConsumer, records: list[Record]) -> None:
        tp = records[0].tp
        # One that is busy is not fed: what a slow handler leaves stays in Kafka.
        consumer.pause(tp)
        self._lanes[tp].begin(records, then=lambda: consumer.resume(tp))

    def _raise_failures(self) -> None:
        for lane in self._lanes.values():
            if lane.failure is not None:
                raise lane.failure

    async def _commit(self, consumer: GroupConsumer) -> None:
        offsets = {tp: lane.next_offset for tp, lane in self._lanes.items() if lane.uncommitted and tp in self._owned}
        try:
            await consumer.commit(offsets)
        except Misconfigured:
            raise
        except TransportError as error:
            log.info("handled results are not committed yet: %s", error)
            return
        for tp, offset in offsets.items():
            self._lanes[tp].committed = offset

    async def _drain(self) -> None:
        for lane in self._lanes.values():
            lane.close()
        idle: list[Awaitable[None]] = [lane.idle() for lane in self._lanes.values()]
        try:
            async with asyncio.timeout(_DRAIN_S):
                await asyncio.gather(*idle)
        except TimeoutError:
            log.error("a handler did not end within %g s: its event will be given again", _DRAIN_S)
            for lane in self._lanes.values():
                lane.abandon()


async def _broken_off(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _by_partition(records: list[Record]) -> list[list[Record]]:
    found: dict[TopicPartition, list[Record]] = {}
    for record in records:
        found.setdefault(record.tp, []).append(record)
    return list(found.values())
