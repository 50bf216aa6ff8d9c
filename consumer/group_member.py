"""An instance's membership of a group, and a runner for each partition that it is given.

The rebalance listener only marks and spawns. One task polls for all partitions and hands records to the runners; each
runner fences, restores and commits by itself, and one in doubt disturbs no other.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from schemas.connection import KafkaSettings
from transport.errors import Doubt, OffsetsUnknown, Unavailable
from transport.group import GroupConsumer
from transport.records import Record, TopicPartition

__all__ = ["GroupMember", "Runner"]

_POLL_S = 0.5
_REVOKED_S = 2.5
_RETRY_S = 1.0


class Runner(Protocol):
    """Serves one partition while the group gives it to this instance. All methods but ``run`` are immediate."""

    partition: int
    problem: str | None
    """What it waits for; None while it serves."""

    @property
    def stuck(self) -> bool:
        """Whether records wait and nothing was committed for a while."""

    def offer(self, records: Iterable[Record]) -> None:
        """Records just fetched."""

    def suspend(self) -> None:
        """A rebalance has begun: nothing is delivered until ``resume``."""

    def resume(self) -> None:
        """It was given back to this instance."""

    def stop(self) -> None:
        """End after the transaction that is under way."""

    async def run(self) -> None:
        """Serve until ``stop``. Raises for what only a person can mend."""


_R = TypeVar("_R", bound=Runner)


class GroupMember(Generic[_R]):
    """``runner_of`` makes the runner of a partition; ``log`` is the stage's."""

    def __init__(
        self,
        kafka: KafkaSettings,
        runner_of: Callable[[int, GroupConsumer], _R],
        log: Any,
        *,
        group: str,
        topics: Sequence[str],
        session_timeout_s: float,
        instance_id: str | None,
    ) -> None:
        self.assigned = False
        """Whether the group has said which partitions are this instance's."""
        self.consumer: GroupConsumer | None = None
        self._kafka = kafka
        self._runner_of = runner_of
        self._log = log
        self._group = group
        self._topics = topics
        self._session_timeout_s = session_timeout_s
        self._instance_id = instance_id
        self._runners: dict[int, _R] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None

    @property
    def runners(self) -> list[_R]:
        """Those of the partitions that are this instance's. A copy: the health server asks from a thread of its own."""
        return list(self._runners.values())

    def problems(self) -> list[str]:
        """Why this instance is not ready, of what its partitions know."""
        if not self.assigned:
            return ["waits for the group to assign partitions"]
        runners = self.runners
        reasons = [f"partition {runner.partition}: {runner.problem}" for runner in runners if runner.problem]
        return reasons + [f"partition {runner.partition}: no progress" for runner in runners if runner.stuck]

    async def run(self, stop: asyncio.Event) -> None:
        """Be a member until ``stop``, and join again when the membership breaks down.

        Raises what a runner raises: a person has to mend it, so the instance ends, and its exit code says why.
        """
        while not stop.is_set():
            await self._serve(stop)

    async def _serve(self, stop: asyncio.Event) -> None:
        consumer = GroupConsumer(
            self._kafka,
            group=self._group,
            topics=list(self._topics),
            assignor="range",
            session_timeout_s=self._session_timeout_s,
            instance_id=self._instance_id,
            on_assigned=self._on_assigned,
            on_revoked=self._on_revoked,
        )
        self.consumer = consumer
        try:
            await consumer.start()
            while not stop.is_set():
                await self._poll(consumer)
        except (Doubt, Unavailable) as error:
            self._log.warning("the membership broke down: join again", reason=str(error))
            await asyncio.sleep(_RETRY_S)
        finally:
            self.assigned = False
            await self._end_runners()
            await consumer.stop()

    async def _poll(self, consumer: GroupConsumer) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            records = await consumer.poll(_POLL_S)
        except OffsetsUnknown as error:
            # The runner restores, and finds out there whether the topic lost records or was made anew.
            for number in {tp.partition for tp in error.partitions}:
                self._restart(number)
            return
        by_partition: dict[int, list[Record]] = defaultdict(list)
        for record in records:
            by_partition[record.partition].append(record)
        for number, found in by_partition.items():
            if runner := self._runners.get(number):
                runner.offer(found)

    def _on_revoked(self, _: frozenset[TopicPartition]) -> None:
        for runner in self._runners.values():
            runner.suspend()

    def _on_assigned(self, partitions: frozenset[TopicPartition]) -> None:
        mine = {tp.partition for tp in partitions}
        for number in set(self._runners) - mine:
            self._retire(number)
        for number in mine:
            if number in self._runners:
                self._runners[number].resume()
            else:
                self._start(number)
        self.assigned = True
        self._log.info("assigned", partitions=sorted(mine))

    def _start(self, number: int) -> None:
        if self.consumer is None:
            return
        runner = self._runner_of(number, self.consumer)
        self._runners[number] = runner
        task = asyncio.create_task(runner.run(), name=f"partition {number}")
        task.add_done_callback(self._ended)
        self._tasks[number] = task

    def _retire(self, number: int) -> None:
        self._runners.pop(number).stop()
        task = self._tasks.pop(number)
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    def _restart(self, number: int) -> None:
        if number in self._runners:
            self._retire(number)
            self._start(number)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and self._failure is None:
            self._failure = task.exception()

    async def _end_runners(self) -> None:
        for number in list(self._runners):
            self._retire(number)
        if tasks := list(self._leaving):
            _, late = await asyncio.wait(tasks, timeout=_REVOKED_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
