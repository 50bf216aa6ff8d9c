"""Records of the results and progress topics as the typed events that a tenant follows."""

from __future__ import annotations

import logging
from typing import get_args

from pydantic import ValidationError

from schemas.envelope import Envelope
from schemas.errors import EaselError
from schemas.events import (
    Accepted,
    CancelAccepted,
    Canceled,
    CancelRefused,
    Deleted,
    DeleteRefused,
    Duplicate,
    Failed,
    GenerationStarted,
    GenerationStep,
    Priced,
    Rejected,
    Succeeded,
)
from schemas.previews import GenerationPreview
from transport.records import Record

__all__ = [
    "Answer",
    "Decision",
    "Progress",
    "Reply",
    "RequestEvent",
    "TenantEvent",
    "Terminal",
    "answered",
    "read_event",
    "subject_of",
]

log = logging.getLogger(__name__)

Decision = Accepted | Duplicate | Rejected
Progress = GenerationStarted | GenerationStep | GenerationPreview
Terminal = Succeeded | Failed | Canceled
RequestEvent = Decision | Progress | Terminal
"""What happens to a request."""
Reply = Priced | CancelAccepted | CancelRefused | Deleted | DeleteRefused
"""What is said once to who asked for a price, a cancel or a delete."""
Answer = Decision | Reply
TenantEvent = RequestEvent | Reply

_SHAPES: dict[str, type[TenantEvent]] = {shape.TYPE: shape for shape in get_args(TenantEvent)}


def answered(answer: Answer) -> str:
    """The id of the event that it answers: a cancel and a delete have one of their own."""
    match answer:
        case CancelAccepted() | CancelRefused():
            return answer.cancel_id
        case Deleted() | DeleteRefused():
            return answer.delete_id
    return answer.request_id


def subject_of(record: Record) -> str | None:
    """The request that a record is about, without decoding the rest; None when it does not say."""
    for name, value in record.headers:
        if name == "ce_subject" and value:
            return value.decode("utf-8", "replace")
    return None


def read_event(record: Record) -> TenantEvent | None:
    """The event in a record; None for a type that this version does not know, and for one that can't be read.

    Both are passed over: a later version may add types, and one damaged record must not end the following of all.
    """
    try:
        envelope = Envelope.read(record.headers, record.value)
        shape = _SHAPES.get(envelope.type)
        return None if shape is None else shape.model_validate_json(envelope.data)
    except (EaselError, ValidationError) as error:
        log.warning("passed over %s[%d] offset %d: %s", record.topic, record.partition, record.offset, error)
        return None
