"""A job as a worker knows it, from its record to its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from consumer.engine.contract import Mask, Missed, Pixels
from consumer.generation.batching import BatchKey, batch_key
from consumer.generation.offsets import Token
from schemas.envelope import Envelope
from schemas.errors import Code, EaselError
from schemas.jobs import DeleteAssigned, JobAssigned
from schemas.outputs import Output
from schemas.requests import Parameters
from schemas.tenants import TenantId
from transport.records import Record, TopicPartition

__all__ = ["Job", "JobKey", "Mark", "Source", "read_job"]

JobKey = tuple[str, str, int]
"""Tenant, request id, attempt."""

_KINDS: dict[str, type[JobAssigned | DeleteAssigned]] = {kind.TYPE: kind for kind in (JobAssigned, DeleteAssigned)}
_TENANT: TypeAdapter[str] = TypeAdapter(TenantId)


@dataclass(frozen=True, eq=False, slots=True)
class Source:
    """What a job's pictures are made from, in their size; the mask is true where they are to be made anew."""

    pixels: Pixels
    mask: Mask | None = None

    @property
    def nbytes(self) -> int:
        return self.pixels.nbytes + (0 if self.mask is None else self.mask.nbytes)


class Mark(NamedTuple):
    """A part of a job, for its trace; times in ns since 1970."""

    name: str
    began_ns: int
    ended_ns: int
    attributes: dict[str, str | int]


@dataclass(eq=False, slots=True)
class Job:
    """One attempt at one request. ``deliveries``: every record that has brought it here; all are done when it is."""

    assigned: JobAssigned
    traceparent: str | None
    deliveries: list[Token[TopicPartition]]
    alone: bool = False
    """Runs with no other job: a start of it never ended, or a batch that it was in was lost or failed."""
    announced: bool = False
    """Its start is known to admission, and has not ended."""
    source: Source | None = None
    """Fetched before it may run, if it is made from one."""
    previewed: dict[int, float] = field(default_factory=dict)
    """When a preview of a picture was last told of, by its index."""
    start: int = 0
    """The number of its newest start among all that this worker has reported."""
    losses: int = 0
    """Engine processes that were lost with nothing but it."""
    engine_s: float = 0.0
    weights_revision: str = ""
    saves: dict[int, asyncio.Task[Output]] = field(default_factory=dict)
    """The pictures that are made, by index, on their way into the store."""
    flagged: set[int] = field(default_factory=set)
    """Those of them in which the image check found something."""
    blurred: set[int] = field(default_factory=set)
    missed: dict[int, Missed] = field(default_factory=dict)
    steps_run: int = 0
    """Over the pictures that were given up in the middle."""
    left_to_peer: bool = False
    """Another worker may be at it: nothing is done with it here."""
    dropped: bool = False
    """Not wanted any more: a newer attempt is out, or the request has ended."""
    canceled: bool = False
    """Not wanted any more because its tenant says so, who is to hear how far it came."""
    closing: bool = False
    """The engine is done with it, and its outcome, if one is wanted, is on its way."""

    taken_ns: int = field(default_factory=time.time_ns)
    """When it came here, since 1970."""
    marks: list[Mark] = field(default_factory=list)

    @property
    def key(self) -> JobKey:
        return self.assigned.tenant, self.assigned.request_id, self.assigned.attempt

    @property
    def parameters(self) -> Parameters:
        return self.assigned.parameters

    @property
    def batch_key(self) -> BatchKey:
        return batch_key(self.assigned.parameters)

    @property
    def work(self) -> int:
        """What it takes of the fleet, in milli-units."""
        return self.assigned.work_milliunits or self.assigned.cost_milliunits

    @property
    def work_left(self) -> int:
        """The share of it for the pictures that are not made."""
        images = self.parameters.images
        return self.work * max(0, images - len(self.saves) - len(self.missed)) // images

    @property
    def blocked(self) -> list[int]:
        """The pictures that were made and held back by the image check."""
        return sorted(index for index, missed in self.missed.items() if missed.code is Code.CONTENT_BLOCKED)

    @property
    def made(self) -> bool:
        """Whether the engine has nothing left to do for it."""
        return len(self.saves) + len(self.missed) >= self.parameters.images

    def log_facts(self) -> dict[str, object]:
        """What every log line about it says."""
        return {
            "tenant": self.assigned.tenant,
            "request_id": self.assigned.request_id,
            "attempt": self.assigned.attempt,
            "partition": self.deliveries[0].partition.partition,
        }


def read_job(record: Record) -> tuple[JobAssigned | DeleteAssigned, str | None]:
    """What a record asks for, and its trace context.

    Raises ``EaselError``: the record goes to the dead letters.
    """
    envelope = Envelope.read(record.headers, record.value)
    if envelope.type not in _KINDS:
        raise EaselError(
            Code.UNSUPPORTED_TYPE,
            f"{envelope.type!r} is none of {', '.join(_KINDS)}: is this worker older than admission?",
            param="ce_type",
        )
    try:
        job = _KINDS[envelope.type].model_validate_json(envelope.data)
        _TENANT.validate_python(job.tenant)
        if str(UUID(job.request_id)) != job.request_id:
            raise ValueError(job.request_id)
    except ValidationError as error:
        raise EaselError(Code.INVALID_REQUEST, f"the job is malformed: {_problem(error)}") from None
    except ValueError:
        raise EaselError(
            Code.ID_INVALID, "the job's request_id is not a UUID in its usual form", param="request_id"
        ) from None
    if isinstance(job, JobAssigned) and job.parameters.images < 1:
        raise EaselError(Code.INVALID_REQUEST, "the job asks for no picture", param="images")
    return job, envelope.traceparent


def _problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    location: Sequence[int | str] = first["loc"]
    return f"{'.'.join(map(str, location)) or 'value'}: {first['msg']}"
