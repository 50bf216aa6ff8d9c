"""What admission and the fleet say to each other. All but the control notes carry the attempt."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from schemas.errors import ErrorBody
from schemas.events import Event
from schemas.outputs import Output
from schemas.requests import Parameters

__all__ = [
    "Control",
    "DeleteAssigned",
    "JobAssigned",
    "JobCanceled",
    "JobDeleted",
    "JobFailed",
    "JobReleased",
    "JobStarted",
    "JobSucceeded",
    "Outcome",
]


class JobAssigned(Event):
    """Work for one worker of a pool."""

    TYPE: ClassVar[str] = "easel.job.assigned.v1"
    attempt: int
    alone: bool = False
    """Run it in a batch of its own: a start of it never ended."""
    cost_milliunits: int
    work_milliunits: int = 0
    """What it takes of the fleet: the cost before the tenant's price. 0 from an admission that did not say it."""
    parameters: Parameters


class Outcome(Event):
    """What became of an attempt."""

    attempt: int
    worker: str


class JobStarted(Outcome):
    """About to be given to the engine."""

    TYPE: ClassVar[str] = "easel.job.started.v1"
    alone: bool = False
    start: int = 0
    """Which of all starts that this worker has reported: a report that was repeated is not one more. 0: not told."""


class JobReleased(Outcome):
    """Given up before its end through no fault of its own (a drain); the start doesn't count."""

    TYPE: ClassVar[str] = "easel.job.released.v1"


class JobSucceeded(Outcome):
    """Pictures and manifest are in the store."""

    TYPE: ClassVar[str] = "easel.job.succeeded.v1"
    weights_revision: str
    outputs: list[Output]
    blocked: list[int] = Field(default_factory=list)
    """Pictures, by index, that the image check held back."""
    manifest: str
    engine_ms: int


class JobFailed(Outcome):
    """No picture; ``retryable`` says whether another attempt could end better."""

    TYPE: ClassVar[str] = "easel.job.failed.v1"
    error: ErrorBody
    blocked: list[int] = Field(default_factory=list)
    retryable: bool


class JobCanceled(Outcome):
    """Stopped on a note of the control topic that says ``canceled``, or dropped on one before it began."""

    TYPE: ClassVar[str] = "easel.job.canceled.v1"
    steps_run: int
    """Over all its pictures: up to ``images x steps``."""


class DeleteAssigned(Event):
    """On a jobs topic: whatever the store holds of this request is to go. May be done twice."""

    TYPE: ClassVar[str] = "easel.job.delete_assigned.v1"
    delete_id: str
    attempt: int


class JobDeleted(Outcome):
    """What the store held of a request is gone."""

    TYPE: ClassVar[str] = "easel.job.deleted.v1"
    delete_id: str
    objects: int


class Control(Event):
    """A note to every worker: drop attempts below ``min_attempt``.

    A later note about the same request adds to an earlier one: the topic is compacted, so each says all that holds.
    """

    TYPE: ClassVar[str] = "easel.control.v1"
    min_attempt: int
    canceled: bool = False
    """Attempts below are dropped because the tenant wishes it: say ``job.canceled`` with the steps that ran."""
    alone: bool = False
    """Run what is left of it in a batch of its own: a start of it never ended."""
