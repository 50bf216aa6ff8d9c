"""The webhooks stage: membership of the group, and a `WebhookPartition` for each partition that it is given."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from consumer.health import HealthServer, Readiness
from consumer.metrics import Metrics
from consumer.webhooks.files import EndpointFiles
from consumer.webhooks.partition import WebhookPartition
from consumer.webhooks.schedule import Schedule
from consumer.webhooks.slots import Slots
from schemas.settings import Settings
from schemas.topics import Topics
from transport.errors import Doubt, Misconfigured, OffsetsUnknown, Unavailable
from transport.group import GroupConsumer
from transport.logs import logger
from transport.records import Record, TopicPartition
from transport.topics import check_topics

__all__ = ["Webhooks", "run_webhooks"]

_POLL_S = 0.5
_REVOKED_S = 2.5
_RETRY_S = 1.0
_HOUR_S = 3600.0

_log = logger("webhooks")


async def run_webhooks(settings: Settings, *, stop: asyncio.Event | None = None) -> None:
    """Serve until ``stop`` is set. Raises ``Misconfigured`` or ``ConfigError`` for what only a person can mend."""
    await Webhooks(settings).run(stop or asyncio.Event())


class Webhooks:
    """One instance of the stage."""

    def __init__(self, settings: Settings, *, schedule: Schedule | None = None) -> None:
        self._settings = settings
        self._topics = Topics(settings.kafka.prefix)
        self._schedule = schedule or Schedule(settings.webhooks.retry_for_h * _HOUR_S)
        self._metrics = Metrics()
        self._files = EndpointFiles(settings)
        self._slots = Slots(settings.webhooks.concurrency)
        self._partitions: dict[int, WebhookPartition] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._assigned = False
        self._failure: asyncio.Future[None] | None = None
        self._consumer: GroupConsumer | None = None

    async def run(self, stop: asyncio.Event) -> None:
        webhooks = self._settings.webhooks
        self._failure = asyncio.get_running_loop().create_future()
        with HealthServer(
            webhooks.health_host,
            webhooks.health_port,
            self._metrics,
            self.readiness,
            setting="EASEL_WEBHOOKS_HEALTH_PORT",
        ):
            await self._reach_cluster(stop)
            watching = asyncio.create_task(self._files.watch())
            try:
                while not stop.is_set():
                    await self._serve(stop)
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
        _log.info("stopped")

    def readiness(self) -> Readiness:
        """Ready: given its partitions, and each of them restored and advancing."""
        if not self._assigned:
            return Readiness(("waits for the group to assign partitions",))
        partitions = list(self._partitions.values())
        reasons = [f"partition {one.partition}: {one.problem}" for one in partitions if one.problem]
        reasons += [f"partition {one.partition}: no progress" for one in partitions if one.stuck]
        return Readiness((*reasons, *([self._files.problem] if self._files.problem else [])))

    async def _reach_cluster(self, stop: asyncio.Event) -> None:
        kafka = self._settings.kafka
        mine = {*self._topics.webhook_inputs, self._topics.webhooks, self._topics.dead_letters}
        made = self._topics.specs(
            partitions=kafka.partitions,
            jobs_partitions=kafka.jobs_partitions,
            replication=kafka.replication,
            pools=[],
        )
        while not stop.is_set():
            try:
                problems = await check_topics(kafka, [spec for spec in made if spec.name in mine])
            except Unavailable as error:
                _log.warning("waits for the cluster", reason=str(error))
                await asyncio.sleep(_RETRY_S)
                continue
            if problems:
                raise Misconfigured("the topics are not as they must be: " + "; ".join(problems), "run `easel topics`")
            return

    async def _serve(self, stop: asyncio.Event) -> None:
        """Be a member of the group until ``stop``, or until the membership breaks down."""
        webhooks = self._settings.webhooks
        consumer = GroupConsumer(
            self._settings.kafka,
            group=self._topics.group("webhooks"),
            topics=list(self._topics.webhook_inputs),
            assignor="range",
            session_timeout_s=webhooks.session_timeout_s,
            instance_id=webhooks.instance_id,
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
            await self._end_partitions(list(self._partitions))
            await consumer.stop()

    async def _poll(self, consumer: GroupConsumer) -> None:
        if self._failure is not None and self._failure.done():
            self._failure.result()
        try:
            records = await consumer.poll(_POLL_S)
        except OffsetsUnknown as error:
            # Restoring finds out whether the topic lost records or was made anew.
            for number in {tp.partition for tp in error.partitions}:
                self._restart(number)
            return
        by_partition: dict[int, list[Record]] = defaultdict(list)
        for record in records:
            by_partition[record.partition].append(record)
        for number, found in by_partition.items():
            if partition := self._partitions.get(number):
                partition.offer(found)

    def _on_revoked(self, _: frozenset[TopicPartition]) -> None:
        for partition in self._partitions.values():
            partition.suspend()

    def _on_assigned(self, partitions: frozenset[TopicPartition]) -> None:
        mine = {tp.partition for tp in partitions}
        for number in set(self._partitions) - mine:
            self._retire(number)
        for number in mine:
            if number in self._partitions:
                self._partitions[number].resume()
            else:
                self._start(number)
        self._assigned = True
        _log.info("assigned", partitions=sorted(mine))

    def _start(self, number: int) -> None:
        if self._consumer is None:
            return
        partition = WebhookPartition(
            number,
            settings=self._settings,
            consumer=self._consumer,
            endpoints=lambda: self._files.endpoints,
            slots=self._slots,
            schedule=self._schedule,
            metrics=self._metrics,
        )
        self._partitions[number] = partition
        task = asyncio.create_task(partition.run(), name=f"webhooks {number}")
        task.add_done_callback(self._ended)
        self._tasks[number] = task

    def _retire(self, number: int) -> None:
        self._partitions.pop(number).stop()
        task = self._tasks.pop(number)
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    def _restart(self, number: int) -> None:
        if number in self._partitions:
            self._retire(number)
            self._start(number)

    def _ended(self, task: asyncio.Task[None]) -> None:
        failure = self._failure
        if task.cancelled() or task.exception() is None or failure is None or failure.done():
            return
        failure.set_exception(task.exception() or RuntimeError("a partition ended"))

    async def _end_partitions(self, numbers: list[int]) -> None:
        for number in numbers:
            self._retire(number)
        if tasks := list(self._leaving):
            _, late = await asyncio.wait(tasks, timeout=_REVOKED_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
