"""What a worker says: outcomes, by way of the outbox, and progress, which may be lost."""

from __future__ import annotations

import base64
import itertools
import time
from collections.abc import Iterable, Sequence

from consumer.generation.jobs import Job, JobKey
from consumer.generation.outbox import Outbox
from schemas.envelope import Envelope
from schemas.errors import ErrorBody
from schemas.events import Event, GenerationStarted, GenerationStep
from schemas.ids import event_id
from schemas.jobs import (
    DeleteAssigned,
    JobCanceled,
    JobDeleted,
    JobFailed,
    JobReleased,
    JobStarted,
    JobSucceeded,
    Outcome,
)
from schemas.outputs import Manifest, manifest_key
from schemas.previews import GenerationPreview
from schemas.topics import Topics
from transport.kafka import Publisher
from transport.partitioning import partition_of
from transport.records import Outgoing

__all__ = ["Reports"]

_PROGRESS_INTERVAL_S = 0.25


class Reports:
    """``source`` is the installation's name, ``partitions`` P, ``worker`` the name of this worker."""

    def __init__(
        self, publisher: Publisher, outbox: Outbox, topics: Topics, *, source: str, partitions: int, worker: str
    ) -> None:
        self._publisher = publisher
        self._outbox = outbox
        self._topics = topics
        self._source = source
        self._partitions = partitions
        self._worker = worker
        self._progress: dict[JobKey, float] = {}
        # Not of a job: one that is given away and comes back begins anew, and is no repetition.
        self._starts = itertools.count(1)

    async def started(self, jobs: Sequence[Job]) -> None:
        """The engine is about to get these; returns when admission is sure to learn so."""
        for job in jobs:
            job.start = next(self._starts)
            job.announced = True
        await self._outbox.deliver([self._start_of(job) for job in jobs])
        for job in jobs:
            assigned = job.assigned
            begun = GenerationStarted(
                tenant=assigned.tenant,
                request_id=assigned.request_id,
                attempt=assigned.attempt,
                steps=job.parameters.denoising_steps,
            )
            self._publisher.publish_nowait(self._progress_record(job, begun, str(job.start)))

    async def released(self, job: Job) -> None:
        """It was begun and is given up through no fault of its own."""
        assigned = job.assigned
        await self._outcome(
            job,
            JobReleased(
                tenant=assigned.tenant, request_id=assigned.request_id, attempt=assigned.attempt, worker=self._worker
            ),
        )
        job.announced = False

    async def succeeded(self, job: Job, manifest: Manifest) -> None:
        """Its pictures and its manifest are in the store."""
        assigned = job.assigned
        await self._outcome(
            job,
            JobSucceeded(
                tenant=assigned.tenant,
                request_id=assigned.request_id,
                attempt=assigned.attempt,
                worker=self._worker,
                weights_revision=manifest.weights_revision,
                outputs=manifest.outputs,
                blocked=manifest.blocked,
                manifest=manifest_key(assigned.tenant, assigned.request_id),
                engine_ms=manifest.engine_ms,
            ),
        )

    async def failed(self, job: Job, cause: ErrorBody, *, retryable: bool) -> None:
        """There will be no picture of this attempt."""
        assigned = job.assigned
        await self._outcome(
            job,
            JobFailed(
                tenant=assigned.tenant,
                request_id=assigned.request_id,
                attempt=assigned.attempt,
                worker=self._worker,
                error=cause,
                blocked=job.blocked,
                retryable=retryable,
            ),
        )

    async def canceled(self, job: Job, steps_run: int) -> None:
        """Given up because its tenant wishes it, after so many steps of its pictures."""
        assigned = job.assigned
        await self._outcome(
            job,
            JobCanceled(
                tenant=assigned.tenant,
                request_id=assigned.request_id,
                attempt=assigned.attempt,
                worker=self._worker,
                steps_run=steps_run,
            ),
        )

    async def deleted(self, assigned: DeleteAssigned, traceparent: str | None, objects: int) -> None:
        """The store holds nothing more of this request; it held so many objects."""
        event = JobDeleted(
            tenant=assigned.tenant,
            request_id=assigned.request_id,
            attempt=assigned.attempt,
            worker=self._worker,
            delete_id=assigned.delete_id,
            objects=objects,
        )
        number = f"{assigned.delete_id}.{assigned.attempt}.{self._worker}"
        await self._outbox.deliver([self._to_admission(event, traceparent, number)])

    def step(self, job: Job, done: int) -> None:
        """``done`` of its steps are; told at most four times a second, and at the last one."""
        now, steps = time.monotonic(), job.parameters.denoising_steps
        if now - self._progress.get(job.key, 0.0) < _PROGRESS_INTERVAL_S and done < steps:
            return
        self._progress[job.key] = now
        assigned = job.assigned
        event = GenerationStep(
            tenant=assigned.tenant, request_id=assigned.request_id, attempt=assigned.attempt, step=done, steps=steps
        )
        self._publisher.publish_nowait(self._progress_record(job, event, f"{job.start}.{done}"))

    def preview(self, job: Job, index: int, step: int, jpeg: bytes) -> None:
        """How one of its pictures looks after ``step`` steps."""
        assigned = job.assigned
        event = GenerationPreview(
            tenant=assigned.tenant,
            request_id=assigned.request_id,
            attempt=assigned.attempt,
            index=index,
            step=step,
            steps=job.parameters.denoising_steps,
            image_base64=base64.b64encode(jpeg).decode(),
        )
        self._publisher.publish_nowait(self._progress_record(job, event, f"{job.start}.{index}.{step}"))

    def forget(self, jobs: Iterable[Job]) -> None:
        """Nothing more will be said of these."""
        for job in jobs:
            self._progress.pop(job.key, None)

    async def _outcome(self, job: Job, event: Outcome) -> None:
        await self._outbox.deliver([self._about(job, event)])

    def _start_of(self, job: Job) -> Outgoing:
        assigned = job.assigned
        event = JobStarted(
            tenant=assigned.tenant,
            request_id=assigned.request_id,
            attempt=assigned.attempt,
            worker=self._worker,
            alone=job.alone,
            start=job.start,
        )
        return self._about(job, event)

    def _about(self, job: Job, event: Outcome) -> Outgoing:
        return self._to_admission(event, job.traceparent, f"{event.attempt}.{self._worker}.{job.start}")

    def _to_admission(self, event: Outcome, traceparent: str | None, number: str) -> Outgoing:
        tenant = event.tenant.encode()
        return self._record(
            event,
            traceparent,
            self._topics.outcomes,
            key=tenant,
            partition=partition_of(tenant, self._partitions),
            number=number,
        )

    def _progress_record(self, job: Job, event: Event, number: str) -> Outgoing:
        key = event.request_id.encode()
        return self._record(
            event,
            job.traceparent,
            self._topics.progress,
            key=key,
            partition=partition_of(key, self._partitions),
            number=f"{job.assigned.attempt}.{self._worker}.{number}",
        )

    def _record(
        self, event: Event, traceparent: str | None, topic: str, *, key: bytes, partition: int, number: str
    ) -> Outgoing:
        envelope = Envelope(
            id=event_id(event.tenant, event.request_id, event.TYPE, number),
            type=event.TYPE,
            source=self._source,
            subject=event.request_id,
            traceparent=traceparent,
            data=event.model_dump_json().encode(),
        )
        return Outgoing(topic, envelope.data, key, envelope.headers(), partition)
