"""The admission service: membership of the group, and a runner for each partition that it is given.

The rebalance listener only marks and spawns. One task polls for all partitions and hands records to the runners; each
runner fences, restores, decides and commits by itself, and one in doubt disturbs no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import uuid
from collections import defaultdict
from collections.abc import Coroutine
from typing import Any

from consumer.admission.files import RuleFiles
from consumer.admission.fleet_tail import FleetTail
from consumer.admission.gauges import most_open, show_fleet, show_pending
from consumer.admission.init import specs_of
from consumer.admission.lag import watch_lag
from consumer.admission.partition import PartitionRunner
from consumer.fleet import BrokerClock, Heart
from consumer.health import HealthServer, Readiness
from consumer.metrics import Metrics
from schemas.fleet import Heartbeat
from schemas.settings import Settings
from schemas.topics import Topics
from transport.errors import Doubt, Misconfigured, OffsetsUnknown, TransportError, Unavailable
from transport.group import GroupConsumer
from transport.kafka import Publisher
from transport.logs import logger
from transport.records import Record, TopicPartition
from transport.topics import check_topics, cluster_id

__all__ = ["Admission", "run_admission"]

_POLL_S = 0.5
_REVOKED_S = 2.5
_RETRY_S = 1.0

_log = logger("admission")


async def run_admission(settings: Settings, *, stop: asyncio.Event | None = None) -> None:
    """Serve until ``stop`` is set. Raises ``Misconfigured`` or ``ConfigError`` for what only a person can mend."""
    await Admission(settings).run(stop or asyncio.Event())


class Admission:
    """One instance of the service."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._metrics = Metrics()
        self._clock = BrokerClock()
        self._files = RuleFiles(settings, self._metrics)
        self._fleet = FleetTail(settings.kafka)
        self._name = settings.admission.instance_id or f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._runners: dict[int, PartitionRunner] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._assigned = False
        self._failure: asyncio.Future[None] | None = None
        self._consumer: GroupConsumer | None = None
        self._cluster_id = ""

    async def run(self, stop: asyncio.Event) -> None:
        settings = self._settings
        self._failure = asyncio.get_running_loop().create_future()
        with HealthServer(
            settings.admission.health_host,
            settings.admission.health_port,
            self._metrics,
            self.readiness,
            setting="EASEL_ADMISSION_HEALTH_PORT",
        ):
            await self._reach_cluster(stop)
            async with Publisher(settings.kafka, client_id=f"{settings.kafka.prefix}-admission") as publisher:
                heart = Heart(settings.kafka, publisher, self._clock, self.heartbeat)
                async with _background(
                    heart.run(), self._files.watch(), self._fleet.run(), watch_lag(lambda: self._consumer, self._all)
                ):
                    while not stop.is_set():
                        await self._serve(stop)
        _log.info("stopped")

    def readiness(self) -> Readiness:
        """Ready: given its partitions, and each of them caught up or advancing."""
        if not self._assigned:
            return Readiness(("waits for the group to assign partitions",))
        reasons = [f"partition {runner.partition}: {runner.problem}" for runner in self._all() if runner.problem]
        reasons += [f"partition {runner.partition}: no progress" for runner in self._all() if runner.stuck]
        if self._clock.silence:
            reasons.append(self._clock.silence)
        notes = [f"the pool {pool!r} is draining: nothing new leaves for it" for pool in self._files.catalog.draining]
        return Readiness((*reasons, *self._files.problems()), tuple(notes))

    def heartbeat(self) -> Heartbeat:
        """What the fleet is told of this instance."""
        ready = sum(1 for runner in self._all() if runner.problem is None)
        self._metrics.set("easel_admission_partitions_owned", len(self._runners))
        self._metrics.set("easel_admission_partitions_ready", ready)
        show_pending(self._metrics, self._files.catalog, (runner.waiting_work for runner in self._all()))
        show_fleet(self._metrics, self._fleet.fleet, self._files.catalog, self._clock.now_ms())
        return Heartbeat(
            instance=self._name,
            stage="admission",
            partitions=sorted(self._runners),
            ready=self.readiness().ready,
            tenants_version=self._files.directory.version,
            demand={
                f"{pool}/{runner.partition}": weight for runner in self._all() for pool, weight in runner.demand.items()
            },
            tenants=most_open(runner.gauges for runner in self._all()),
        )

    def _all(self) -> list[PartitionRunner]:
        # A copy: the health server asks from a thread of its own.
        return list(self._runners.values())

    async def _reach_cluster(self, stop: asyncio.Event) -> None:
        specs = specs_of(self._settings, self._files.catalog, self._files.directory)
        while not stop.is_set():
            try:
                self._cluster_id = await cluster_id(self._settings.kafka)
                problems = await check_topics(self._settings.kafka, specs)
            except Unavailable as error:
                _log.warning("waits for the cluster", reason=str(error))
                await asyncio.sleep(_RETRY_S)
                continue
            harmless = self._files.without_own_topic(problems)
            if missing := [problem for problem in problems if problem not in harmless]:
                raise Misconfigured("the topics are not as they must be: " + "; ".join(missing), "run `easel topics`")
            return

    async def _serve(self, stop: asyncio.Event) -> None:
        """Be a member of the group until ``stop``, or until the membership breaks down."""
        settings = self._settings
        topics = Topics(settings.kafka.prefix)
        consumer = GroupConsumer(
            settings.kafka,
            group=topics.group("admission"),
            topics=list(topics.inputs().values()),
            assignor="range",
            session_timeout_s=settings.admission.session_timeout_s,
            instance_id=settings.admission.instance_id,
            on_assigned=self._on_assigned,
            on_revoked=self._on_revoked,
        )
        self._consumer = consumer
        try:
            await consumer.start()
            while not stop.is_set():
                await self._poll(consumer)
        except (Doubt, Unavailable) as error:
            _log.warning("the membership broke down: join again", reason=str(error))
            await asyncio.sleep(_RETRY_S)
        finally:
            self._assigned = False
            await self._end_runners(list(self._runners))
            await consumer.stop()

    async def _poll(self, consumer: GroupConsumer) -> None:
        if self._failure is not None and self._failure.done():
            self._failure.result()
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
        self._assigned = True
        _log.info("assigned", partitions=sorted(mine))

    def _start(self, number: int) -> None:
        if self._consumer is None:
            return
        runner = PartitionRunner(
            number,
            settings=self._settings,
            consumer=self._consumer,
            cluster_id=self._cluster_id,
            rules=self._files.rules,
            fleet=lambda: self._fleet.fleet,
            clock=self._clock,
            metrics=self._metrics,
        )
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
        failure = self._failure
        if task.cancelled() or task.exception() is None or failure is None or failure.done():
            return
        # A person has to mend it: the instance ends, and says why with its exit code.
        failure.set_exception(task.exception() or RuntimeError("a runner ended"))

    async def _end_runners(self, numbers: list[int]) -> None:
        for number in numbers:
            self._retire(number)
        tasks = list(self._leaving)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_REVOKED_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


@contextlib.asynccontextmanager
async def _background(*coroutines: Coroutine[Any, Any, None]) -> Any:
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(TransportError):
            await asyncio.gather(*tasks, return_exceptions=True)
