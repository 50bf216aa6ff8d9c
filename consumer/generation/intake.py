"""From a record to a job that may run: decoded, not begun elsewhere, not called off, and not done already."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NoReturn

from consumer.dead_letters import dead_letter
from consumer.faults import fault
from consumer.generation.backlog import Backlog
from consumer.generation.beside import Beside
from consumer.generation.control import ControlNotes
from consumer.generation.deleting import Deleter
from consumer.generation.finishing import Finisher
from consumer.generation.jobs import Job, read_job
from consumer.generation.offsets import Token
from consumer.generation.outbox import Outbox
from consumer.generation.outputs import Outputs, StoreFailedError
from consumer.generation.peers import Peers
from consumer.generation.sources import SourceError, Sources
from consumer.metrics import Metrics
from schemas.catalog import ModelCard
from schemas.connection import KafkaSettings
from schemas.errors import Code, EaselError
from schemas.jobs import DeleteAssigned
from schemas.topics import Topics
from transport.logs import logger
from transport.records import Record, TopicPartition

__all__ = ["Intake"]

_AT_ONCE = 8
_LOOK_S = 0.1

_log = logger("generation")


class Intake:
    """Takes records as they are polled, and does what has to wait beside the poll."""

    def __init__(
        self,
        kafka: KafkaSettings,
        backlog: Backlog,
        notes: ControlNotes,
        peers: Peers,
        outputs: Outputs,
        sources: Sources,
        deleter: Deleter,
        finisher: Finisher,
        outbox: Outbox,
        cards: Mapping[str, ModelCard],
        metrics: Metrics,
    ) -> None:
        self._kafka = kafka
        self._backlog = backlog
        self._notes = notes
        self._peers = peers
        self._outputs = outputs
        self._sources = sources
        self._deleter = deleter
        self._finisher = finisher
        self._outbox = outbox
        self._cards = cards
        self._metrics = metrics
        self._looking = asyncio.Semaphore(_AT_ONCE)
        self._beside = Beside()

    def take(self, record: Record) -> None:
        """A record of a partition that is owned."""
        delivery = self._backlog.offsets.deliver(record.tp, record.offset)
        if delivery is None:
            return
        try:
            assigned, traceparent = read_job(record)
        except EaselError as error:
            self._beside.begin(self._to_dead_letters(record, error, delivery))
            return
        if isinstance(assigned, DeleteAssigned):
            self._beside.begin(self._deleter.delete(assigned, traceparent, delivery))
            return
        job = self._backlog.admit(assigned, traceparent, delivery)
        if job is None:
            return
        if delivery.fresh and self._notes.read_up.is_set():
            # Nothing to wait for, as with nearly all: no task is made to find that out.
            if not self._settled(job, fresh=True):
                self._beside.begin(self._look_up(job))
        else:
            self._beside.begin(self._prepare(job, fresh=delivery.fresh))

    async def stop(self) -> None:
        """Leave what was not prepared: it will be delivered again, here or elsewhere."""
        await self._beside.abandon()

    async def failure(self) -> NoReturn:
        """Wait for what this does not expect, and raise it: a record is held that nobody is at any more."""
        await self._beside.failure()

    async def _prepare(self, job: Job, *, fresh: bool) -> None:
        await self._notes.read_up.wait()
        if not fresh and await self._is_left_to_a_peer(job):
            return
        if not self._settled(job, fresh=fresh):
            await self._look_up(job)

    def _settled(self, job: Job, *, fresh: bool) -> bool:
        """Enqueue it, or end it, if that needs no look into the store."""
        note = self._notes.about(job.assigned.tenant, job.assigned.request_id)
        if note.drops(job.assigned.attempt):
            (self._finisher.cancel if note.canceled else self._finisher.drop)(job)
            return True
        job.alone = job.alone or note.alone
        if job.parameters.model not in self._cards:
            self._finisher.fail(
                job, Code.MODEL_UNAVAILABLE, f"the workers of this pool have no model {job.parameters.model!r}"
            )
            return True
        if fresh and job.assigned.attempt == 1 and job.parameters.source_image is None:
            # Nobody has had it, nor another attempt: there is no manifest, and the store need not be asked.
            self._backlog.enqueue(job)
            return True
        return False

    async def _look_up(self, job: Job) -> None:
        """Report from the manifest of an earlier run, where there is one; else have what it is made from."""
        try:
            async with self._looking:
                manifest = await self._outputs.manifest(job)
            if manifest is None:
                await self._sources.fetch(job)
        except SourceError as error:
            if not job.closing:
                self._finisher.fail(job, error.code, error.message, param=error.param)
            return
        except StoreFailedError as error:
            _log.error("the store failed", reason=str(error), **job.log_facts())
            if not job.closing:
                self._finisher.fail(job, Code.STORE_FAILED, "the object store can't be reached")
            return
        except Exception:
            # Memory that ran out, for one: nobody knows that it is the job's fault, so another attempt may be made.
            _log.exception("a job could not be looked up", **job.log_facts())
            if not job.closing:
                message = "the worker could not get what this is made from"
                self._finisher.fail(job, Code.INTERNAL_ERROR, message, retryable=True)
            return
        if job.closing:
            return
        if manifest is not None:
            self._finisher.replay(job, manifest)
        else:
            self._backlog.enqueue(job)

    async def _is_left_to_a_peer(self, job: Job) -> bool:
        """Wait while another worker is at it. Returns whether nothing is left to do for it here."""
        await self._peers.read_up.wait()
        job.left_to_peer = True
        while (claim := self._peers.claim(job.key)) in {None, "runs"}:
            # Looked at again, not waited for: that a peer has died is told by nobody.
            await asyncio.sleep(_LOOK_S)
            if not self._backlog.wanted(job):
                # Its partition has gone to somebody else.
                return True
        job.left_to_peer = False
        if claim == "ended":
            fault("generation.after_peer_ended")
            self._finisher.drop(job)
            return True
        job.alone = job.alone or claim == "broken_off"
        return False

    async def _to_dead_letters(self, record: Record, error: EaselError, delivery: Token[TopicPartition]) -> None:
        _log.error(
            "a job is malformed",
            code=error.code.value,
            reason=error.message,
            partition=record.partition,
            offset=record.offset,
        )
        letter = dead_letter(
            Topics(self._kafka.prefix).dead_letters,
            record,
            error.body(),
            stage="generation",
            # The jobs topic may have more partitions than this one.
            partition=record.partition % self._kafka.partitions,
        )
        await self._outbox.deliver([letter])
        self._metrics.inc("easel_dead_letters_total", stage="generation", code=error.code.value)
        self._metrics.inc("easel_generation_jobs_total", result="malformed")
        self._backlog.done(delivery)
