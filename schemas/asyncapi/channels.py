"""The public channels: what may be on each, by which key, and what is promised about it.

Whatever has no row here (jobs, outcomes, ledger, control, fleet, rerouted) is between the stages, and may change with
any release.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from schemas.events import (
    Accepted,
    CancelAccepted,
    Canceled,
    CancelRefused,
    DeadLetter,
    DeadLetterReplayed,
    Deleted,
    DeleteRefused,
    Duplicate,
    Failed,
    GenerationStarted,
    GenerationStep,
    Priced,
    Rejected,
    Succeeded,
    UsageHeld,
    UsageRefunded,
    UsageSettled,
)
from schemas.previews import GenerationPreview
from schemas.requests import CancelRequest, DeleteRequest, GenerationRequest
from schemas.topics import Topics

__all__ = ["CHANNELS", "Channel", "Direction", "HeaderKind"]

Direction = Literal["in", "out"]
"""Seen from easel: what others write, and what they read."""

HeaderKind = Literal["request", "result", "event", "letter"]

_TOPICS = Topics()
_RESULTS: tuple[type[BaseModel], ...] = (
    Accepted,
    Rejected,
    Duplicate,
    Priced,
    Succeeded,
    Failed,
    Canceled,
    CancelAccepted,
    CancelRefused,
    Deleted,
    DeleteRefused,
)
_RESULT_GUARANTEES = (
    "Each accepted request has exactly one of succeeded, failed and canceled, to a reader that is read_committed.",
    "Events of a tenant are in order; the decision about a request comes before its end.",
    "Each has a ce_id that no other event has, the same whenever it is made again: readers may deduplicate by it.",
    "What a request cost is in its last event, in the transaction that also writes it to the usage topic.",
)


@dataclass(frozen=True, slots=True)
class Channel:
    """A topic, as those outside see it."""

    name: str
    address: str
    direction: Direction
    headers: HeaderKind
    title: str
    summary: str
    key: str
    """What the record's key is."""
    key_pattern: str | None
    guarantees: tuple[str, ...]
    messages: tuple[type[BaseModel], ...]


_TENANT = "^[a-z0-9][a-z0-9-]{0,62}$"
_REQUEST_ID = "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"

CHANNELS: tuple[Channel, ...] = (
    Channel(
        name="requests",
        address=_TOPICS.requests,
        direction="in",
        headers="request",
        title="Requests",
        summary="Signed requests, cancels and deletes. Anyone with a key writes here.",
        key="The tenant's name, hashed by Kafka's own partitioner (murmur2). On another partition it is moved, and"
        " answered all the same.",
        key_pattern=_TENANT,
        guarantees=(
            "Each request whose signature holds is answered on the results topic each time that it was sent.",
            "The same id with the same body is the same request: it is answered duplicate, and is charged once.",
            "A request whose signature does not hold goes to the dead letters and to nobody else.",
            "A field that this version does not know is refused by its name.",
            "A value has at most 256 KiB, a batch 1 MiB unpacked.",
        ),
        messages=(GenerationRequest, CancelRequest, DeleteRequest),
    ),
    Channel(
        name="results",
        address=_TOPICS.results,
        direction="out",
        headers="result",
        title="Results",
        summary="The decision about each request, and its end.",
        key="The tenant's name.",
        key_pattern=_TENANT,
        guarantees=_RESULT_GUARANTEES,
        messages=_RESULTS,
    ),
    Channel(
        name="resultsOfTenant",
        address=_TOPICS.results_of("{tenant}"),
        direction="out",
        headers="result",
        title="Results of one tenant",
        summary="The same events, of a tenant with own_topic alone: an access rule can then let it read this and no"
        " more.",
        key="The tenant's name.",
        key_pattern=_TENANT,
        guarantees=(*_RESULT_GUARANTEES, "It has one partition. The shared topic has the same events too."),
        messages=_RESULTS,
    ),
    Channel(
        name="progress",
        address=_TOPICS.progress,
        direction="out",
        headers="event",
        title="Progress",
        summary="For progress bars and previews.",
        key="The request's id.",
        key_pattern=_REQUEST_ID,
        guarantees=(
            "Best effort: events may be missing, late or doubled by a second attempt. Never wait for one.",
            "At most four steps a second of a request, and one preview a second of a picture.",
        ),
        messages=(GenerationStarted, GenerationStep, GenerationPreview),
    ),
    Channel(
        name="usage",
        address=_TOPICS.usage,
        direction="out",
        headers="event",
        title="Usage",
        summary="Every movement of units, once.",
        key="The tenant's name.",
        key_pattern=_TENANT,
        guarantees=(
            "Each accepted request is held once, and settled and refunded at most once each.",
            "When a request has ended, what was held for it is what was settled and refunded.",
            "After each entry, held = settled + refunded + outstanding in the balances of the day and the month.",
            "Entries of a tenant are in order.",
        ),
        messages=(UsageHeld, UsageSettled, UsageRefunded),
    ),
    Channel(
        name="deadLetters",
        address=_TOPICS.dead_letters,
        direction="out",
        headers="letter",
        title="Dead letters",
        summary="For operators: records that nobody could be answered about, whole, with the cause.",
        key="As it was, of a long one the first 4 KiB.",
        key_pattern=None,
        guarantees=(
            "Each record that could not be processed is here once.",
            "A value of up to 1 MiB is whole; of a larger one the head, the size and the hash.",
        ),
        messages=(DeadLetter, DeadLetterReplayed),
    ),
)
