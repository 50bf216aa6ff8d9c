"""Dead letters, as ``easel watch --dead-letters`` shows them: what was refused unread, why, and where it lies."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError
from rich.text import Text

from schemas.events import DeadLetter
from transport.records import Record

__all__ = ["letter_as_json", "letter_as_line", "read_letter"]

_CONTENT = {"key_base64", "value_base64", "headers"}
"""The record itself: up to 1 MiB, with its sender's token. It stays in the topic."""


def read_letter(record: Record) -> DeadLetter | None:
    """The dead letter in a record; None if it holds something else. It has no CloudEvents headers."""
    try:
        return DeadLetter.model_validate_json(record.value or b"")
    except ValidationError:
        return None


def letter_as_json(record: Record, letter: DeadLetter) -> dict[str, Any]:
    """Cause, origin and size, without the content."""
    data = letter.model_dump(mode="json", exclude=_CONTENT)
    return {"time_ms": record.timestamp_ms, "type": letter.TYPE, "data": data}


def letter_as_line(record: Record, letter: DeadLetter) -> Text:
    """The same for people, in one line."""
    clock = datetime.fromtimestamp(record.timestamp_ms / 1000, tz=UTC).astimezone()
    text = Text(f"{clock:%Y-%m-%d %H:%M:%S}  ", style="dim")
    text.append(str(letter.cause.code), style="red")
    text.append(f": {letter.cause.message}")
    place = f"{letter.topic}[{letter.partition}]@{letter.offset}"
    return text.append(f"  {place}, {letter.value_bytes:,} bytes", style="dim")
