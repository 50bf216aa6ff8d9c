"""A worker: jobs in, pictures into the store, outcomes out. This file puts the parts together and takes them apart."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
import uuid

from consumer.engine.contract import Pixels
from consumer.engine.process import EngineProcess
from consumer.fleet import BrokerClock, Heart
from consumer.generation.backlog import Backlog
from consumer.generation.batching import BatchKey
from consumer.generation.control import ControlNotes
from consumer.generation.deleting import Deleter
from consumer.generation.encoding import Encoder
from consumer.generation.finishing import Finisher
from consumer.generation.gpu import GpuGauge
from consumer.generation.intake import Intake
from consumer.generation.jobs import Job
from consumer.generation.membership import Membership
from consumer.generation.outbox import Outbox
from consumer.generation.outputs import Outputs
from consumer.generation.peers import Peers
from consumer.generation.previews import Previews
from consumer.generation.reports import Reports
from consumer.generation.running import EngineLoop
from consumer.generation.sources import Sources
from consumer.generation.starting import cards_of, engine_environment, reach_cluster, reach_store, start_engine
from consumer.health import HealthServer, Readiness
from consumer.metrics import Metrics
from schemas.fleet import Heartbeat
from schemas.settings import Settings
from schemas.topics import Topics
from transport.kafka import Publisher
from transport.logs import logger
from transport.objects import ObjectStore

__all__ = ["Worker", "run_worker"]

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
        self._cards = cards_of(settings)
        self._backlog = Backlog(self._budget, lambda model: model in self._cards and self._cards[model].continuous)
        self._engine = EngineProcess(
            self._cards,
            hang_s=settings.generation.hang_s,
            memory_mib=settings.generation.engine_memory_mib,
            engine=settings.generation.engine,
            models_bytes=settings.generation.models_mib * 2**20,
            environment=engine_environment(settings),
            on_restart=lambda cause: self._metrics.inc("easel_engine_restarts_total", cause=cause),
            on_load=lambda model: self._metrics.inc("easel_engine_model_loads_total", model=model),
            on_leave=lambda model: self._metrics.inc("easel_engine_model_evictions_total", model=model),
            on_stderr=lambda line: _log.info("engine", line=line),
            on_preview=self._on_preview,
        )
        self._notes = ControlNotes(settings.kafka, self._on_note)
        self._gpu = GpuGauge()
        self._progress_dropped = 0
        self._clock = BrokerClock()
        self._peers = Peers(
            settings.kafka,
            self._clock,
            instance=self._name,
            pool=settings.generation.pool,
            session_timeout_s=settings.generation.session_timeout_s,
        )
        self._draining = False
        self._loop: EngineLoop | None = None
        self._previews: Previews | None = None
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
            await reach_cluster(settings, stop)
            if stop.is_set():
                return
            try:
                await start_engine(self._engine, sorted(self._cards), stop)
                if stop.is_set():
                    return
                async with (
                    ObjectStore(settings.store) as store,
                    Publisher(kafka, client_id=f"{kafka.prefix}-generation") as publisher,
                ):
                    await reach_store(settings, store, stop)
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
        if not self._peers.read_up.is_set():
            reasons.append("waits for the end of the fleet topic")
        if self._membership is None or not self._membership.joined:
            reasons.append("waits for the group to assign partitions")
        elif self._clock.silence:
            reasons.append(self._clock.silence)
        return Readiness(tuple(reasons))

    async def _work(self, store: ObjectStore, publisher: Publisher, stop: asyncio.Event) -> None:
        settings = self._settings
        topics = Topics(settings.kafka.prefix)
        outputs, encoder, outbox = Outputs(store), Encoder(), Outbox(publisher)
        reports = Reports(
            publisher,
            outbox,
            topics,
            source=settings.installation,
            partitions=settings.kafka.partitions,
            worker=self._name,
        )
        finisher = Finisher(self._backlog, encoder, outputs, reports, self._metrics)
        self._previews = Previews(reports, lambda: self._backlog.jobs)
        self._loop = loop = EngineLoop(self._backlog, self._engine, finisher, reports, self._cards, self._metrics)
        intake = Intake(
            settings.kafka,
            self._backlog,
            self._notes,
            self._peers,
            outputs,
            Sources(store, lambda: self._backlog.jobs, self._backlog.wanted),
            Deleter(self._backlog, outputs, reports, self._metrics),
            finisher,
            outbox,
            self._cards,
            self._metrics,
        )
        heart = Heart(settings.kafka, publisher, self._clock, lambda: self._heartbeat(publisher, loop))

        def on_rebalance() -> None:
            self._peers.rebalanced()
            heart.beat()

        self._membership = membership = Membership(settings, self._backlog, intake.take, self._metrics, on_rebalance)
        member = asyncio.create_task(membership.run(), name="membership")
        engine = asyncio.create_task(loop.run(), name="engine-loop")
        failures = (self._engine.supervised(), intake.failure(), finisher.failure())
        beside = [asyncio.create_task(work) for work in (self._notes.run(), self._peers.run(), heart.run(), *failures)]
        stopped = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait([member, engine, stopped, *beside], return_when=asyncio.FIRST_COMPLETED)
            _log.info("draining", jobs=len(self._backlog.jobs))
            self._draining = True
            heart.beat()
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
            await outbox.close()
            encoder.close()
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

    def _heartbeat(self, publisher: Publisher, loop: EngineLoop) -> Heartbeat:
        self._metrics.inc("easel_progress_dropped_total", publisher.dropped - self._progress_dropped)
        self._progress_dropped = publisher.dropped
        return Heartbeat(
            instance=self._name,
            stage="generation",
            partitions=self._membership.partitions if self._membership else [],
            ready=self.readiness().ready,
            pool=self._settings.generation.pool,
            draining=self._draining,
            held=self._backlog.held(),
            capacity_milliunits=loop.pace.capacity,
            rate_milliunits_s=loop.pace.rate(time.monotonic()),
            backlog_milliunits=self._backlog.work_left,
            models=self._engine.loaded,
            gpu=self._gpu.read(),
        )

    def _budget(self, key: BatchKey) -> int:
        card = self._cards.get(key.model)
        if card is None:
            return 1
        most = self._engine.most_images(key.model, key.width * key.height)
        return card.max_batch_images if most is None else min(most, card.max_batch_images)

    def _on_preview(self, name: str, step: int, pixels: Pixels) -> None:
        if self._previews is not None:
            self._previews.offer(name, step, pixels)

    def _on_note(self, tenant: str, request_id: str) -> None:
        if self._loop is None:
            return
        note = self._notes.about(tenant, request_id)
        for job in self._backlog.attempts_at(tenant, request_id):
            if job.left_to_peer:
                # It is the peer's to stop; if that dies, the note is looked at again.
                continue
            if note.drops(job.assigned.attempt):
                self._loop.drop(job, canceled=note.canceled)
            elif note.alone:
                self._backlog.isolate(job)


async def _cancelled(*tasks: asyncio.Task[object]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
