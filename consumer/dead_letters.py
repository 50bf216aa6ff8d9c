"""Records that can't be processed, on their way to the dead-letter topic: whole, with the cause and the place."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from typing import Literal

from schemas.envelope import JSON
from schemas.errors import ErrorBody
from schemas.events import DeadLetter
from transport.records import Outgoing, Record

__all__ = ["dead_letter"]

_WHOLE_BYTES = 1024 * 1024
_HEAD_BYTES = 4096
_HEADERS_BYTES = 64 * 1024
_AROUND_HEADER_BYTES = 8
"""Quotes, comma and brackets around a header in JSON: a record can hold half a million of empty ones."""
_ESCAPED = 6
"""The most bytes that JSON makes of one character of a name: ``\\u0000``."""


def dead_letter(
    topic: str,
    record: Record,
    cause: ErrorBody,
    *,
    stage: Literal["admission", "generation", "webhooks"],
    partition: int,
) -> Outgoing:
    """The record for ``topic[partition]``, never larger than that topic takes: of a value over 1 MiB only its head, its
    size and its hash, of a key only the head, of the headers those that fit into 64 KiB."""
    value = record.value or b""
    kept = value[:_HEAD_BYTES] if len(value) > _WHOLE_BYTES else value
    key = None if record.key is None else record.key[:_HEAD_BYTES]
    headers = _that_fit(record.headers)
    truncated = (kept, key, len(headers)) != (value, record.key, len(record.headers))
    letter = DeadLetter(
        cause=cause,
        stage=stage,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        appended_ms=record.timestamp_ms,
        key_base64=None if key is None else _base64(key),
        value_base64=None if record.value is None else _base64(kept),
        value_bytes=len(value),
        value_sha256=hashlib.sha256(value).hexdigest(),
        headers=headers,
        truncated=truncated,
    )
    return Outgoing(
        topic=topic,
        value=letter.model_dump_json().encode(),
        key=key,
        headers=(("content-type", JSON.encode()), ("easel_type", DeadLetter.TYPE.encode())),
        partition=partition,
    )


def _that_fit(headers: Iterable[tuple[str, bytes | None]]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    room = _HEADERS_BYTES
    for name, content in headers:
        encoded = _base64(content or b"")
        room -= _ESCAPED * len(name) + len(encoded) + _AROUND_HEADER_BYTES
        if room < 0:
            break
        found.append((name, encoded))
    return found


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
