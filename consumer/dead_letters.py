"""Records that can't be processed, on their way to the dead-letter topic: whole, with the cause and the place."""

from __future__ import annotations

import base64
import hashlib
from typing import Literal

from schemas.envelope import JSON
from schemas.errors import ErrorBody
from schemas.events import DeadLetter
from transport.records import Outgoing, Record

__all__ = ["dead_letter"]

_WHOLE_BYTES = 1024 * 1024
_HEAD_BYTES = 4096


def dead_letter(
    topic: str, record: Record, cause: ErrorBody, *, stage: Literal["admission", "generation"], partition: int
) -> Outgoing:
    """The record for ``topic[partition]``; of a value larger than 1 MiB only its head, its size and its hash."""
    value = record.value or b""
    truncated = len(value) > _WHOLE_BYTES
    kept = value[:_HEAD_BYTES] if truncated else value
    letter = DeadLetter(
        cause=cause,
        stage=stage,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        appended_ms=record.timestamp_ms,
        key_base64=None if record.key is None else _base64(record.key),
        value_base64=None if record.value is None else _base64(kept),
        value_bytes=len(value),
        value_sha256=hashlib.sha256(value).hexdigest(),
        headers=[(name, _base64(content or b"")) for name, content in record.headers],
        truncated=truncated,
    )
    return Outgoing(
        topic=topic,
        value=letter.model_dump_json().encode(),
        key=record.key,
        headers=(("content-type", JSON.encode()), ("easel_type", DeadLetter.TYPE.encode())),
        partition=partition,
    )


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
