"""The webhooks stage: what all its partitions share, and whether it is ready."""

from __future__ import annotations

import asyncio

from consumer.group_member import GroupMember
from consumer.health import HealthServer, Readiness
from consumer.metrics import Metrics
from consumer.webhooks.files import EndpointFiles
from consumer.webhooks.partition import WebhookPartition
from consumer.webhooks.schedule import Schedule
from consumer.webhooks.slots import Slots
from schemas.settings import Settings
from schemas.topics import Topics
from transport.errors import Misconfigured, Unavailable
from transport.group import GroupConsumer
from transport.logs import logger
from transport.topics import check_topics

__all__ = ["Webhooks", "run_webhooks"]

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
        self._member = GroupMember(
            settings.kafka,
            self._partition,
            _log,
            group=self._topics.group("webhooks"),
            topics=list(self._topics.webhook_inputs),
            session_timeout_s=settings.webhooks.session_timeout_s,
            instance_id=settings.webhooks.instance_id,
        )

    async def run(self, stop: asyncio.Event) -> None:
        webhooks = self._settings.webhooks
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
                await self._member.run(stop)
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
        _log.info("stopped")

    def readiness(self) -> Readiness:
        """Ready: given its partitions, and each of them restored and advancing."""
        return Readiness((*self._member.problems(), *([self._files.problem] if self._files.problem else [])))

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

    def _partition(self, number: int, consumer: GroupConsumer) -> WebhookPartition:
        return WebhookPartition(
            number,
            settings=self._settings,
            consumer=consumer,
            endpoints=lambda: self._files.endpoints,
            slots=self._slots,
            schedule=self._schedule,
            metrics=self._metrics,
        )
