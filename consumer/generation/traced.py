"""The spans of a job: all of it, and below that what it waited for and what was done."""

from __future__ import annotations

import time

from consumer.generation.jobs import Job, Mark
from transport.tracing import tracing

__all__ = ["mark", "trace_job"]


def mark(job: Job, name: str, began_ns: int, **attributes: str | int) -> None:
    """A part of it is over that began at ``began_ns``, since 1970."""
    if tracing.on and job.traceparent is not None:
        job.marks.append(Mark(name, began_ns, time.time_ns(), attributes))


def trace_job(job: Job, result: str) -> None:
    """It has ended, its outcome reported or not wanted."""
    if not tracing.on or job.traceparent is None:
        return
    delivery = job.deliveries[0].partition
    whole = tracing.span(
        f"process {delivery.topic}",
        job.traceparent,
        job.taken_ns,
        kind="consumer",
        attributes={
            "messaging.system": "kafka",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": delivery.topic,
            "messaging.destination.partition.id": str(delivery.partition),
            "easel.tenant": job.assigned.tenant,
            "easel.request_id": job.assigned.request_id,
            "easel.attempt": job.assigned.attempt,
            "easel.model": job.parameters.model,
            "easel.result": result,
        },
        error="failed" if result == "failed" else None,
    )
    began = [one.began_ns for one in job.marks if one.name == "engine"]
    if began:
        tracing.span("wait for the engine", whole, job.taken_ns, ended_ns=min(began))
    for one in job.marks:
        tracing.span(one.name, whole, one.began_ns, ended_ns=one.ended_ns, attributes=one.attributes)
