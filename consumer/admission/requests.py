"""A request as a partition remembers it: open, with all that is needed to send it again, or ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec

from consumer.admission.keys import RequestKey
from consumer.admission.known_by import KeptResult
from schemas.jobs import JobStarted
from schemas.requests import Parameters

__all__ = ["EndState", "EndedRequest", "OpenRequest", "OpenState", "Start"]

OpenState = Literal["queued", "dispatched", "running"]
EndState = Literal["succeeded", "failed", "canceled"]


class Start(NamedTuple):
    """A worker said that it gives an attempt to its engine, and has not said since what became of it."""

    worker: str
    attempt: int
    alone: bool
    number: int = 0
    """Which of the worker's starts; 0 where that was not told."""

    @classmethod
    def of(cls, event: JobStarted) -> Start:
        return cls(event.worker, event.attempt, event.alone, event.start)


class OpenRequest(msgspec.Struct, frozen=True, gc=False):
    """An accepted request that has not ended. Everything needed to send it again is here."""

    key: RequestKey
    state: OpenState
    body_sha256: str
    sequence: int
    """Its place in the order of acceptance of this partition."""
    accepted_ms: int
    cost: int
    """What is held, in milli-units: the work at the tenant's price."""
    work: int
    """What it takes of the fleet, in milli-units."""
    day: str
    month: str
    pool: str
    parameters: Parameters
    metadata: Mapping[str, str]
    traceparent: str | None = None
    webhook: str | None = None
    """Where its events are posted besides its tenant's endpoints: a ``RequestWebhook`` as JSON."""
    attempt: int = 0
    failures: int = 0
    """Attempts that failed and may be made again; what was sent again because nobody had it is not among them."""
    starts: tuple[Start, ...] = ()
    """Starts that were reported and neither ended nor were released, of whatever attempt."""
    alone: bool = False
    """It is to run in a batch of its own: a start of it never ended."""
    cancel_requested: bool = False
    """Its tenant wishes it to stop; the note to the workers is out."""
    dispatched_ms: int | None = None
    retry_at_ms: int | None = None
    """Queued, but not before this time: an attempt has failed."""
    worker: str | None = None
    """Whom the newest attempt was meant for, where the fleet was known."""
    asked: int = 0
    """The work of its tenant that was accepted up to this one, itself included, in milli-units."""
    idempotency_key: str | None = None
    seeded: bool = False
    """Its seed was asked for, so that a later request can be answered by its result."""
    replayed: bool = False
    """It came by a replay of dead letters."""

    @property
    def deadline_ms(self) -> int | None:
        deadline = self.parameters.deadline
        return None if deadline is None else int(deadline.timestamp() * 1000)

    @property
    def lone_starts(self) -> int:
        return sum(start.alone for start in self.starts)


class EndedRequest(msgspec.Struct, frozen=True, gc=False):
    """A request that has ended: remembered longer than any token that could bring it again lives."""

    key: RequestKey
    state: EndState
    body_sha256: str
    ended_ms: int
    forget_ms: int
    idempotency_key: str | None = None
    result: KeptResult | None = None
