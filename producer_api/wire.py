"""Records of the results and progress topics as the typed events that a tenant follows."""

from __future__ import annotations

import logging

from pydantic import ValidationError

from schemas.envelope import Envelope
from schemas.errors import EaselError
from schemas.events import (
    Accepted,
    Canceled,
    Duplicate,
    Failed,
    GenerationStarted,
    GenerationStep,
    Rejected,
    Succeeded,
)
from transport.records import Record

__all__ = ["Decision", "Progress", "RequestEvent", "Terminal", "read_event", "subject_of"]

log = logging.getLogger(__name__)

Decision = Accepted | Duplicate | Rejected
Progress = GenerationStarted | GenerationStep
Terminal = Succeeded | Failed | Canceled
RequestEvent = Decision | Progress | Terminal

_SHAPES: dict[str, type[RequestEvent]] = {
    shape.TYPE: shape
    for shape in (Accepted, Duplicate, Rejected, GenerationStarted, GenerationStep, Succeeded, Failed, Canceled)
}


def subject_of(record: Record) -> str | None:
    """The request that a record is about, without decoding the rest; None when it does not say."""
    for name, value in record.headers:
        if name == "ce_subject" and value:
            return value.decode("utf-8", "replace")
    return None


def read_event(record: Record) -> RequestEvent | None:
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
