"""A worker: jobs in, pictures into the store, outcomes out. This file puts the parts together and takes them apart."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import uuid

from consumer.engine.contract import EngineError
from consumer.engine.process import EngineLostError, EngineProcess
from consumer.engine.weights import unusable_files
from consumer.fleet import BrokerClock, Heart
from consumer.generation.backlog import Backlog
from consumer.generation.batching import BatchKey
from consumer.generation.control import ControlNotes
from consumer.generation.finishing import Finisher
from consumer.generation.intake import Intake
from consumer.generation.jobs import Job
from consumer.generation.membership import Membership
from consumer.generation.outputs import Outputs
from consumer.generation.reports import Reports
from consumer.generation.running import EngineLoop
from consumer.health import HealthServer, Readiness
from consumer.logs import logger
from consumer.metrics import Metrics
from schemas.catalog import ModelCard, load_catalog
from schemas.fleet import Heartbeat
from schemas.settings import Settings
from schemas.topics import Topics
from transport.errors import Misconfigured, Unavailable
from transport.kafka import Publisher
from transport.objects import ObjectStore
from transport.topics import check_topics

__all__ = ["Worker", "run_worker"]

_RETRY_S = 1.0
_RELEASE_S = 3.0
_ABANDON_S = 1.0

_log = logger("generation")


async def run_worker(settings: Settings, *, stop: asyncio.Event | None = None) -> None:
    """Work until ``stop`` is set, then drain. Raises ``Misconfigured`` or ``ConfigError``: a person must mend that."""
    await Worker(settings).run(stop or asyncio.Event())


class Worker:
    """One member of a pool, with one engine."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._metrics = Metrics()
        self._name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._cards = _cards(settings)
        self._backlog = Backlog(self._budget)
        self._engine = EngineProcess(
            self._cards,
            hang_s=settings.generation.hang_s,
            engine=settings.generation.engine,
            on_restart=lambda cause: self._metrics.inc("easel_engine_restarts_total", cause=cause),
            on_stderr=lambda line: _log.info("engine", line=line),
        )
        self._notes = ControlNotes(settings.kafka, self._on_note)
        self._progress_dropped = 0
        self._clock = BrokerClock()
        self._loop: EngineLoop | None = None
        self._membership: Membership | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """See ``run_worker``."""
        settings = self._settings
        generation, kafka = settings.generation, settings.kafka
        with HealthServer(
            generation.health_host,
            generation.health_port,
            self._metrics,
            self.readiness,
            setting="EASEL_GENERATION_HEALTH_PORT",
        ):
            await self._reach_cluster(stop)
            if stop.is_set():
                return
            try:
                await self._start_engine(stop)
                if stop.is_set():
                    return
                async with (
                    ObjectStore(settings.store) as store,
                    Publisher(kafka, client_id=f"{kafka.prefix}-generation") as publisher,
                ):
                    await self._reach_store(store, stop)
                    if not stop.is_set():
                        await self._work(store, publisher, stop)
            finally:
                await self._engine.stop()
        _log.info("stopped")

    def readiness(self) -> Readiness:
        """Ready: in the group, the control topic read, the engine up."""
        reasons = []
        if not self._engine.up:
            reasons.append("the engine is being started")
        if not self._notes.read_up.is_set():
            reasons.append("waits for the end of the control topic")
        if self._membership is None or not self._membership.joined:
            reasons.append("waits for the group to assign partitions")
        elif self._clock.silence:
            reasons.append(self._clock.silence)
        return Readiness(tuple(reasons))

    async def _work(self, store: ObjectStore, publisher: Publisher, stop: asyncio.Event) -> None:
        settings = self._settings
        topics = Topics(settings.kafka.prefix)
        outputs = Outputs(store)
        reports = Reports(
            publisher,
            topics,
            source=settings.installation,
            partitions=settings.kafka.partitions,
            worker=self._name,
        )
        finisher = Finisher(self._backlog, outputs, reports, self._metrics)
        self._loop = loop = EngineLoop(self._backlog, self._engine, finisher, reports, self._cards, self._metrics)
        intake = Intake(
            settings.kafka, self._backlog, self._notes, outputs, finisher, publisher, self._cards, self._metrics
        )
        self._membership = membership = Membership(settings, self._backlog, intake.take, self._metrics)
        heart = Heart(settings.kafka, publisher, self._clock, lambda: self._heartbeat(publisher))
        member = asyncio.create_task(membership.run(), name="membership")
        engine = asyncio.create_task(loop.run(), name="engine-loop")
        beside = [asyncio.create_task(work) for work in (self._notes.run(), heart.run())]
        stopped = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait([member, engine, stopped, *beside], return_when=asyncio.FIRST_COMPLETED)
            _log.info("draining", jobs=len(self._backlog.jobs))
            loop.stop()
            if not loop.busy:
                # It may wait for an engine that does not come up.
                engine.cancel()
            membership.drain()
            await intake.stop()
            await self._drain(engine, finisher, reports)
        finally:
            await _cancelled(member, engine, stopped, *beside)
            await finisher.abandon()
            outputs.close()
        # A task that ended by itself has failed: the process ends with its error.
        for task in (member, engine, *beside):
            if not task.cancelled():
                task.result()

    async def _drain(self, engine: asyncio.Task[None], finisher: Finisher, reports: Reports) -> None:
        try:
            async with asyncio.timeout(self._settings.generation.drain_s):
                await asyncio.wait([engine])
                await finisher.settled()
        except TimeoutError:
            _log.warning("the drain's time is up: what still runs is released")
            await self._engine.stop()
            await asyncio.wait([engine], timeout=_ABANDON_S)
            await finisher.abandon()
        begun = [job for job in self._backlog.jobs if job.announced]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_RELEASE_S):
                await asyncio.gather(*(self._release(job, reports) for job in begun))

    async def _release(self, job: Job, reports: Reports) -> None:
        await reports.released(job)
        self._metrics.inc("easel_generation_jobs_total", result="released")
        _log.info("job released", **job.log_facts())

    async def _reach_cluster(self, stop: asyncio.Event) -> None:
        kafka = self._settings.kafka
        topics = Topics(kafka.prefix)
        used = {topics.jobs(self._settings.generation.pool), topics.outcomes, topics.progress, topics.control}
        used |= {topics.dead_letters, topics.fleet}
        specs = topics.specs(
            partitions=kafka.partitions,
            jobs_partitions=kafka.jobs_partitions,
            replication=kafka.replication,
            pools=[self._settings.generation.pool],
        )
        while not stop.is_set():
            try:
                problems = await check_topics(kafka, [spec for spec in specs if spec.name in used])
            except Unavailable as error:
                _log.warning("waits for the cluster", reason=str(error))
                await _pause(stop)
                continue
            if problems:
                raise Misconfigured("the topics are not as they must be: " + "; ".join(problems), "run `easel topics`")
            return

    async def _reach_store(self, store: ObjectStore, stop: asyncio.Event) -> None:
        """Have the store and its bucket before the group gives us work."""
        while not stop.is_set():
            try:
                if await store.ensure_bucket():
                    _log.info("made the bucket", bucket=self._settings.store.bucket)
            except Unavailable as error:
                _log.warning("waits for the store", reason=str(error))
                await _pause(stop)
            else:
                return

    async def _start_engine(self, stop: asyncio.Event) -> None:
        """Have the engine up, with the first model loaded, before the group gives us work; or give up on ``stop``."""
        starting = asyncio.create_task(self._engine.start(min(self._cards)))
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([starting, stopped], return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
        except (EngineError, EngineLostError) as error:
            raise Misconfigured(
                f"the engine can't be started: {error}", "`easel doctor` says what is missing"
            ) from None
        finally:
            await _cancelled(starting, stopped)

    def _heartbeat(self, publisher: Publisher) -> Heartbeat:
        self._metrics.inc("easel_progress_dropped_total", publisher.dropped - self._progress_dropped)
        self._progress_dropped = publisher.dropped
        return Heartbeat(
            instance=self._name,
            stage="generation",
            partitions=self._membership.partitions if self._membership else [],
            ready=self.readiness().ready,
        )

    def _budget(self, key: BatchKey) -> int:
        card = self._cards.get(key.model)
        return 1 if card is None else card.max_batch_images

    def _on_note(self, tenant: str, request_id: str) -> None:
        if self._loop is None:
            return
        for job in self._backlog.jobs:
            if job.key[:2] == (tenant, request_id) and self._notes.drops(*job.key):
                self._loop.drop(job)


def _cards(settings: Settings) -> dict[str, ModelCard]:
    """The models of this worker's pool, each of which has its files."""
    generation = settings.generation
    catalog = load_catalog(settings.models)
    cards = {name: card for name, card in catalog.models.items() if card.pool == generation.pool}
    if not cards:
        raise Misconfigured(
            f"no model in {settings.models} belongs to the pool {generation.pool!r}",
            f"set EASEL_GENERATION_POOL to one of: {', '.join(catalog.pools())}",
        )
    for name, card in cards.items():
        if (generation.engine or card.engine) == "diffusers":
            for problem in unusable_files(card):
                raise Misconfigured(f"model {name!r}: {problem}", f"put the files there, or correct {settings.models}")
    return cards


async def _pause(stop: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_RETRY_S):
            await stop.wait()


async def _cancelled(*tasks: asyncio.Task[object]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
