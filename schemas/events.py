"""The data of every event, as JSON on the wire.

Within a version fields are only added, and readers ignore what they don't know. Amounts are integers of milli-units:
1,000 are one step of one 1024x1024 picture. Times are ms since 1970 by the broker's clock unless a field says
otherwise. ``TYPE`` is the event's ``ce_type``.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.errors import ErrorBody
from schemas.outputs import Output

__all__ = [
    "TERMINAL",
    "Accepted",
    "Balance",
    "CancelAccepted",
    "CancelRefused",
    "Canceled",
    "DeadLetter",
    "DeadLetterReplayed",
    "DeleteRefused",
    "Deleted",
    "Duplicate",
    "Event",
    "Failed",
    "GenerationStarted",
    "GenerationStep",
    "Priced",
    "Rejected",
    "Succeeded",
    "Usage",
    "UsageHeld",
    "UsageRefunded",
    "UsageSettled",
]


class Event(BaseModel):
    """What every event about a request says."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    TYPE: ClassVar[str]

    tenant: str
    request_id: str


class Limit(BaseModel):
    """A limit and what is left of it, in its own unit."""

    name: str
    limit: int
    remaining: int


class Accepted(Event):
    """The request is in the ledger and its cost is held: it will end in exactly one terminal event."""

    TYPE: ClassVar[str] = "easel.generation.accepted.v1"
    model: str
    cost_milliunits: int
    position: int
    """Requests of its tenant that were waiting before it."""
    seed: int
    limits: list[Limit] = Field(default_factory=list)
    """What this request leaves of the rate and of the budgets, where the tenant has any."""
    group: str | None = None
    metadata: dict[str, str] = Field(default_factory=dict)


class Duplicate(Event):
    """The id, or the idempotency key, is known. ``state`` is where its request stands.

    With another body, ``error`` is ``id_conflict`` or ``idempotency_conflict``.
    """

    TYPE: ClassVar[str] = "easel.generation.duplicate.v1"
    state: str
    of: str | None = None
    """The request that came under the same idempotency key, where it is another than this one."""
    error: ErrorBody | None = None


class Rejected(Event):
    """Not accepted: nothing was held, and the id may be tried again."""

    TYPE: ClassVar[str] = "easel.generation.rejected.v1"
    error: ErrorBody
    limit: Limit | None = None
    retry_after_s: float | None = None


class Priced(Event):
    """The answer to a dry run: nothing was held, and no id was bound."""

    TYPE: ClassVar[str] = "easel.generation.priced.v1"
    model: str
    cost_milliunits: int
    acceptable: bool
    """Whether it would have been accepted at this moment; if not, ``error`` says why, and ``retry_after_s`` when."""
    cached: bool = False
    """Whether it would have been answered from an earlier result; the cost is then that of an answer from there."""
    position: int = 0
    error: ErrorBody | None = None
    limit: Limit | None = None
    retry_after_s: float | None = None


# results: the answers to a cancel and to a delete. ``request_id`` is the request that they are about.


class CancelAccepted(Event):
    """It is stopped as soon as may be; its terminal event says how it ended: a success that was nearer still counts."""

    TYPE: ClassVar[str] = "easel.generation.cancel_accepted.v1"
    cancel_id: str
    state: str
    """Where the request stood: ``queued``, ``dispatched``, ``running``; or ``unknown``: remembered for 10 minutes."""


class CancelRefused(Event):
    """There was nothing to stop."""

    TYPE: ClassVar[str] = "easel.generation.cancel_refused.v1"
    cancel_id: str
    state: str
    error: ErrorBody


class Deleted(Event):
    """What the store held of a request is gone."""

    TYPE: ClassVar[str] = "easel.generation.deleted.v1"
    delete_id: str
    objects: int


class DeleteRefused(Event):
    """Nothing was deleted."""

    TYPE: ClassVar[str] = "easel.generation.delete_refused.v1"
    delete_id: str
    state: str
    error: ErrorBody


# results: the end. Exactly one of these for an accepted request.


class Succeeded(Event):
    """The pictures are in the store. ``partial``: fewer than were asked for; those neither there nor ``blocked`` were
    refunded."""

    TYPE: ClassVar[str] = "easel.generation.succeeded.v1"
    attempt: int
    model: str
    weights_revision: str
    outputs: list[Output]
    manifest: str
    partial: bool = False
    blocked: list[int] = Field(default_factory=list)
    """Pictures, by index, that the image check held back: made, and charged."""
    cached: bool = False
    cost_milliunits: int
    refunded_milliunits: int
    waited_ms: int
    engine_ms: int
    metadata: dict[str, str] = Field(default_factory=dict)


class Failed(Event):
    """No picture came of it; what was held is refunded but for ``cost_milliunits``: what was made and ``blocked``."""

    TYPE: ClassVar[str] = "easel.generation.failed.v1"
    attempt: int
    error: ErrorBody
    blocked: list[int] = Field(default_factory=list)
    cost_milliunits: int
    refunded_milliunits: int
    metadata: dict[str, str] = Field(default_factory=dict)


class Canceled(Event):
    """Ended at its tenant's wish; the steps that ran are settled."""

    TYPE: ClassVar[str] = "easel.generation.canceled.v1"
    attempt: int
    cost_milliunits: int
    refunded_milliunits: int
    metadata: dict[str, str] = Field(default_factory=dict)


TERMINAL: frozenset[str] = frozenset({Succeeded.TYPE, Failed.TYPE, Canceled.TYPE})
"""The ``ce_type`` of the events that end a request."""


# usage: one entry for each movement of units


class Balance(BaseModel):
    """An account after an entry. Always ``held = settled + refunded + outstanding``."""

    period: str
    """``2026-11-21`` or ``2026-11``, in the tenant's time zone."""
    held: int
    settled: int
    refunded: int
    outstanding: int
    limit: int | None = None


class Usage(Event):
    """Units moved, posted to the day and month of the hold."""

    milliunits: int
    model: str
    day: Balance
    month: Balance


class UsageHeld(Usage):
    """Set aside when the request was accepted."""

    TYPE: ClassVar[str] = "easel.usage.held.v1"


class UsageSettled(Usage):
    """Charged, at the end, for what was made and is delivered or blocked."""

    TYPE: ClassVar[str] = "easel.usage.settled.v1"


class UsageRefunded(Usage):
    """Given back, at the end, for what was not."""

    TYPE: ClassVar[str] = "easel.usage.refunded.v1"


# progress: best effort


class GenerationStarted(Event):
    """The engine has begun."""

    TYPE: ClassVar[str] = "easel.generation.started.v1"
    attempt: int
    steps: int


class GenerationStep(Event):
    """``step`` of ``steps`` are done."""

    TYPE: ClassVar[str] = "easel.generation.step.v1"
    attempt: int
    step: int
    steps: int


class DeadLetter(BaseModel):
    """A record that could not be processed, whole, with the cause and the place it came from."""

    TYPE: ClassVar[str] = "easel.dead-letter.v1"
    model_config = ConfigDict(extra="ignore", frozen=True)

    cause: ErrorBody
    stage: Literal["admission", "generation", "webhooks"]
    topic: str
    partition: int
    offset: int
    appended_ms: int
    key_base64: str | None
    value_base64: str | None
    """The value; of one larger than 1 MiB only the head. Long keys and headers are cut too: see ``truncated``."""
    value_bytes: int
    value_sha256: str
    headers: list[tuple[str, str]]
    """Name and base64 of the value, in their order."""
    truncated: bool = False


class DeadLetterReplayed(BaseModel):
    """On the dead letters' own topic: an operator has given the request in one of them to admission again."""

    TYPE: ClassVar[str] = "easel.dead-letter.replayed.v1"
    model_config = ConfigDict(extra="ignore", frozen=True)

    partition: int
    """Of the dead letter."""
    offset: int
    tenant: str
    request_id: str
    """The id of the event: of a cancel or a delete, its own."""
