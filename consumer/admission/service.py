"""The admission service: what all its partitions share, what the fleet is told of it, and whether it is ready."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import uuid
from collections.abc import Coroutine
from typing import Any

from consumer.admission.files import RuleFiles
from consumer.admission.fleet_tail import FleetTail
from consumer.admission.gauges import most_open, show_fleet, show_pending
from consumer.admission.init import specs_of
from consumer.admission.lag import watch_lag
from consumer.admission.partition import PartitionRunner
from consumer.fleet import BrokerClock, Heart
from consumer.group_member import GroupMember
from consumer.health import HealthServer, Readiness
from consumer.metrics import Metrics
from schemas.fleet import Heartbeat
from schemas.settings import Settings
from schemas.topics import Topics
from transport.errors import Misconfigured, TransportError, Unavailable
from transport.group import GroupConsumer
from transport.kafka import Publisher
from transport.logs import logger
from transport.topics import check_topics, cluster_id

__all__ = ["Admission", "run_admission"]

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
        topics = Topics(settings.kafka.prefix)
        self._member = GroupMember(
            settings.kafka,
            self._runner,
            _log,
            group=topics.group("admission"),
            topics=list(topics.inputs().values()),
            session_timeout_s=settings.admission.session_timeout_s,
            instance_id=settings.admission.instance_id,
        )
        self._cluster_id = ""

    async def run(self, stop: asyncio.Event) -> None:
        settings = self._settings
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
                lag = watch_lag(lambda: self._member.consumer, lambda: self._member.runners)
                async with _background(heart.run(), self._files.watch(), self._fleet.run(), lag):
                    await self._member.run(stop)
        _log.info("stopped")

    def readiness(self) -> Readiness:
        """Ready: given its partitions, and each of them caught up or advancing."""
        reasons = self._member.problems()
        if self._clock.silence:
            reasons.append(self._clock.silence)
        notes = [f"the pool {pool!r} is draining: nothing new leaves for it" for pool in self._files.catalog.draining]
        return Readiness((*reasons, *self._files.problems()), tuple(notes))

    def heartbeat(self) -> Heartbeat:
        """What the fleet is told of this instance."""
        runners = self._member.runners
        ready = sum(1 for runner in runners if runner.problem is None)
        self._metrics.set("easel_admission_partitions_owned", len(runners))
        self._metrics.set("easel_admission_partitions_ready", ready)
        show_pending(self._metrics, self._files.catalog, (runner.waiting_work for runner in runners))
        show_fleet(self._metrics, self._fleet.fleet, self._files.catalog, self._clock.now_ms())
        return Heartbeat(
            instance=self._name,
            stage="admission",
            partitions=sorted(runner.partition for runner in runners),
            ready=self.readiness().ready,
            tenants_version=self._files.directory.version,
            demand={
                f"{pool}/{runner.partition}": weight for runner in runners for pool, weight in runner.demand.items()
            },
            tenants=most_open(runner.gauges for runner in runners),
        )

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

    def _runner(self, number: int, consumer: GroupConsumer) -> PartitionRunner:
        return PartitionRunner(
            number,
            settings=self._settings,
            consumer=consumer,
            cluster_id=self._cluster_id,
            rules=self._files.rules,
            fleet=lambda: self._fleet.fleet,
            clock=self._clock,
            metrics=self._metrics,
        )


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
