"""A member of a consumer group that delivers nothing before it is told where to begin.

The client fetches committed offsets and records while its rebalance listener runs, reads an error about offsets as
"there are none", and then goes to an end of the log. Here every new partition is paused at a position of no meaning, in
the listener and before anything else, and begins only by `GroupConsumer.release`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import aiokafka

from schemas.connection import KafkaSettings
from transport.assignors import Assignor, assignor_of_one_member, note_generation
from transport.batches import MAX_RECORD_BYTES
from transport.committed import fetch_committed
from transport.errors import Doubt, Fenced, Unavailable, limited, translated
from transport.kafka import client_options
from transport.reader import Isolation
from transport.records import Record, TopicPartition, records_of
from transport.teardown import end_consumer

__all__ = ["Assignor", "GroupConsumer", "OnPartitions"]

log = logging.getLogger(__name__)

OnPartitions = Callable[[frozenset[TopicPartition]], None]

_CALL_S = 10.0
_REBALANCE_LOOK_S = 0.05
_RETRY_BACKOFF_MS = 50
# A member learns of a rebalance by the answer to a heartbeat, and the others wait for the last one that does.
_HEARTBEAT_MS = 500
_METADATA_MS = 30_000
# The client has one fetch at a time with each broker: a partition that is resumed meanwhile waits for its answer, which
# takes so long where nothing comes.
_FETCH_WAIT_MS = 200
# The coordinator answers a join only when all members have joined, which may take as long as a session.
_BEYOND_SESSION_MS = 5_000


class GroupConsumer:
    """One member of ``group``, for one event loop.

    The callbacks get all partitions of the member at each rebalance, for rebalancing is eager; they must not block, and
    only mark and spawn. ``range`` gives the same partition numbers of each topic to one member; ``sticky`` moves as few
    as it can. With an ``instance_id`` that survives restarts, a member that comes back takes up what it had at once.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        group: str,
        topics: Sequence[str],
        on_assigned: OnPartitions,
        on_revoked: OnPartitions,
        assignor: Assignor = "range",
        session_timeout_s: float = 10.0,
        max_poll_interval_s: float = 300.0,
        instance_id: str | None = None,
        isolation: Isolation = "read_committed",
    ) -> None:
        self._settings = settings
        self._group = group
        self._topics = tuple(topics)
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._assignor = assignor_of_one_member(assignor)
        self._session_ms = round(session_timeout_s * 1_000)
        self._max_poll_ms = round(max_poll_interval_s * 1_000)
        self._instance_id = instance_id
        self._isolation = isolation
        self._where = f"group {group} at {settings.bootstrap_servers}"
        self._commit_limit_s = settings.request_timeout_ms / 1_000 * 0.8
        self._consumer: Any = None
        self._owned: frozenset[TopicPartition] = frozenset()
        self._released: set[TopicPartition] = set()
        self._callback_error: Exception | None = None

    async def start(self) -> None:
        """Connects and begins to join; the first assignment comes by ``on_assigned``.

        Raises:
            Unavailable: no broker answered within 10 s.
            Misconfigured: the cluster refuses this client.
        """
        options = client_options(self._settings)
        options["request_timeout_ms"] = max(options["request_timeout_ms"], self._session_ms + _BEYOND_SESSION_MS)
        self._consumer = aiokafka.AIOKafkaConsumer(
            **options,
            group_id=self._group,
            group_instance_id=self._instance_id,
            auto_offset_reset="none",
            enable_auto_commit=False,
            isolation_level=self._isolation,
            partition_assignment_strategy=(self._assignor,),
            session_timeout_ms=self._session_ms,
            heartbeat_interval_ms=min(self._session_ms // 4, _HEARTBEAT_MS),
            rebalance_timeout_ms=self._session_ms,
            max_poll_interval_ms=self._max_poll_ms,
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            max_partition_fetch_bytes=MAX_RECORD_BYTES,
            metadata_max_age_ms=_METADATA_MS,
            retry_backoff_ms=_RETRY_BACKOFF_MS,
        )
        try:
            async with limited("connecting", self._where, _CALL_S):
                await self._consumer.start()
        except BaseException:
            await self.stop(leave=False)
            raise
        self._consumer.subscribe(self._topics, listener=_Listener(self._assigned, self._revoked))

    def assignment(self) -> frozenset[TopicPartition]:
        """What this member owns; empty during a rebalance."""
        return self._owned

    def release(self, tp: TopicPartition, offset: int) -> None:
        """Lets ``tp`` deliver from ``offset`` on. Nothing that was fetched for it before is delivered.

        Raises:
            Fenced: ``tp`` is no longer this member's.
        """
        if tp not in self._owned:
            raise Fenced(
                f"{tp.topic}[{tp.partition}] is not assigned", "wait until it is assigned again", where=self._where
            )
        self._consumer.seek(tp, offset)
        self._consumer.resume(tp)
        self._released.add(tp)

    def pause(self, tp: TopicPartition) -> None:
        """Stops deliveries of ``tp``. What was fetched but not delivered is fetched again after `resume`."""
        if tp in self._released:
            self._consumer.pause(tp)

    def resume(self, tp: TopicPartition) -> None:
        """Goes on after `pause`. Does nothing for a partition that was not released or is no longer owned."""
        if tp in self._released:
            self._consumer.resume(tp)

    async def poll(self, timeout_s: float) -> list[Record]:
        """What has arrived for the released partitions, in order within each; empty if nothing has in ``timeout_s``.

        Call it more often than ``max_poll_interval_s``, or the member leaves its group. May be cancelled without loss.

        Raises:
            OffsetsUnknown: a position lies outside its log. Other partitions go on at the next call.
            Misconfigured: the cluster refuses this client.
            Doubt: the membership broke down: stop this consumer and start another one.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            if self._callback_error is not None:
                error, self._callback_error = self._callback_error, None
                raise error
            left = max(0.0, deadline - time.monotonic())
            consumer = self._open
            if consumer._coordinator._coordination_task.done():
                # The client would raise a CancelledError of its own here, which the caller would take for its own.
                raise Doubt("the membership broke down", "start another consumer", where=self._where)
            try:
                if consumer._subscription.reassignment_in_progress:
                    consumer._coordinator.check_errors()
                    # Counted as polling: a member that seems idle is not let into its group again.
                    with consumer._subscription.fetch_context():
                        await asyncio.sleep(min(left, _REBALANCE_LOOK_S))
                else:
                    # During a rebalance this would wait without a limit. Now, without a timeout, it never suspends:
                    # what it returns cannot be older than a `release`.
                    found = await consumer.getmany()
                    if found:
                        return [record for messages in found.values() for record in records_of(messages)]
                    await self._arrival(left)
            except Exception as err:
                error = translated(err, "polling", self._where)
                if not isinstance(error, Unavailable):
                    raise error from err
                log.warning("%s", error)
                await asyncio.sleep(min(left, _REBALANCE_LOOK_S))
            if left == 0.0:
                return []

    async def committed(
        self, tps: Iterable[TopicPartition], *, timeout_s: float = _CALL_S
    ) -> dict[TopicPartition, int | None]:
        """The group's committed offset of each partition; ``None`` where there truly is none.

        Raises:
            OffsetsUnknown: they could not be read within ``timeout_s`` seconds.
            Misconfigured: the cluster refuses this client.
        """
        return await fetch_committed(self._open._coordinator, list(tps), timeout_s=timeout_s, where=self._where)

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commits the next offset of each partition for the group.

        Raises:
            Fenced: the group has rebalanced; the partitions may be another's by now.
            Unavailable: no answer within 0.8 of ``request_timeout_ms``.
        """
        foreign = [tp for tp in offsets if tp not in self._owned]
        if foreign:
            raise Fenced(f"not assigned: {sorted(foreign)}", "commit only what is owned", where=self._where)
        if offsets:
            async with limited("committing offsets", self._where, self._commit_limit_s):
                await self._consumer.commit(dict(offsets))

    async def beginning_offsets(
        self, tps: Iterable[TopicPartition], *, timeout_s: float = _CALL_S
    ) -> dict[TopicPartition, int]:
        """The first offset that each log still holds. Raises Unavailable."""
        async with limited("reading where partitions begin", self._where, timeout_s):
            return dict(await self._open.beginning_offsets(list(tps)))

    async def end_offsets(
        self, tps: Iterable[TopicPartition], *, timeout_s: float = _CALL_S
    ) -> dict[TopicPartition, int]:
        """The end of each log: under ``read_committed`` its last stable offset. Raises Unavailable."""
        async with limited("reading where partitions end", self._where, timeout_s):
            return dict(await self._open.end_offsets(list(tps)))

    async def position(self, tp: TopicPartition, *, timeout_s: float = _CALL_S) -> int:
        """The offset after what was delivered, and after markers of transactions that follow it. Raises Unavailable."""
        async with limited("reading a position", self._where, timeout_s):
            return int(await self._open.position(tp))

    async def stop(self, *, leave: bool = True) -> None:
        """Closes within 5 s, with or without a broker; no callback is called. ``leave`` tells the group at once.

        Leaving gives the partitions to others now; not leaving keeps them, for the session timeout, for its return.
        """
        consumer, self._consumer = self._consumer, None
        self._owned = frozenset()
        self._released.clear()
        if consumer is not None:
            await end_consumer(consumer, leave=leave)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def _open(self) -> Any:
        if self._consumer is None:
            raise Doubt("this consumer was stopped, or never started", "start another one", where=self._where)
        return self._consumer

    async def _arrival(self, timeout_s: float) -> None:
        waiter = self._open._fetcher._create_fetch_waiter()
        try:
            await asyncio.wait([waiter], timeout=timeout_s)
            if waiter.done():
                waiter.result()
        finally:
            waiter.cancel()

    def _assigned(self, partitions: frozenset[TopicPartition]) -> None:
        self._consumer.pause(*partitions)
        for tp in partitions:
            # With a position the client neither asks for committed offsets nor resets.
            self._consumer.seek(tp, 0)
        note_generation(self._assignor, self._consumer._coordinator.generation)
        self._released.clear()
        self._owned = partitions
        self._tell(self._on_assigned, partitions)

    def _revoked(self, partitions: frozenset[TopicPartition]) -> None:
        self._released.clear()
        self._owned = frozenset()
        if partitions:
            self._tell(self._on_revoked, partitions)

    def _tell(self, callback: OnPartitions, partitions: frozenset[TopicPartition]) -> None:
        try:
            callback(partitions)
        except Exception as err:
            # The client would log it and go on, with partitions that nobody ever releases.
            self._callback_error = Doubt(f"a rebalance callback failed: {err!r}", where=self._where)
            self._callback_error.__cause__ = err


class _Listener(aiokafka.ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, assigned: OnPartitions, revoked: OnPartitions) -> None:
        self._assigned = assigned
        self._revoked = revoked

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._assigned(frozenset(assigned))

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self._revoked(frozenset(revoked))
