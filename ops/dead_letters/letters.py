"""A dead letter as people handle it: its place, what was in it, and whom it names."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import ValidationError

from schemas.events import DeadLetter, DeadLetterReplayed
from transport.records import Headers, Record

__all__ = ["SIGNATURE", "TYPE_HEADER", "Letter", "Place", "content_of", "read_letter", "read_replayed", "token_of"]

TYPE_HEADER = "easel_type"
SIGNATURE = "ce_signature"

_PLACE = re.compile(r"(\d{1,5})@(\d{1,18})")
_TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_READABLE_PARTS = 2
"""Of a token: its header and its claims. What follows is the signature."""


class Place(NamedTuple):
    """Where a dead letter lies in its topic: ``3@17`` is offset 17 of partition 3."""

    partition: int
    offset: int

    @classmethod
    def parse(cls, text: str) -> Place:
        """Raises ``ValueError``."""
        match = _PLACE.fullmatch(text)
        if match is None:
            raise ValueError(f"{text[:40]!r} is not the place of a dead letter: say partition@offset, such as 3@17")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.partition}@{self.offset}"


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter, where it lies, and when it was put there (ms since 1970)."""

    place: Place
    at_ms: int
    content: DeadLetter

    @property
    def tenant(self) -> str | None:
        """The tenant that its token names. Nobody has verified that. Of a webhook, the one whose event it is."""
        if self.content.stage == "webhooks":
            return base64.b64decode(self.content.key_base64 or "").decode("utf-8", "replace")
        named = token_of(self.content)[1].get("sub")
        return named if isinstance(named, str) and _TENANT.fullmatch(named) else None

    @property
    def origin(self) -> str:
        """Where the record was read that could not be processed."""
        return f"{self.content.topic}[{self.content.partition}]@{self.content.offset}"


def read_letter(record: Record) -> Letter | None:
    """The dead letter in a record; None if it holds something else. It has no CloudEvents headers."""
    if _kind(record) == DeadLetterReplayed.TYPE:
        return None
    try:
        content = DeadLetter.model_validate_json(record.value or b"")
        content_of(content)
    except ValueError:
        return None
    return Letter(Place(record.partition, record.offset), record.timestamp_ms, content)


def read_replayed(record: Record) -> DeadLetterReplayed | None:
    """The note of a replay in a record; None if it holds something else."""
    if _kind(record) != DeadLetterReplayed.TYPE:
        return None
    try:
        return DeadLetterReplayed.model_validate_json(record.value or b"")
    except ValidationError:
        return None


def content_of(letter: DeadLetter) -> tuple[bytes | None, Headers]:
    """The value and the headers of the record that it holds."""
    value = None if letter.value_base64 is None else base64.b64decode(letter.value_base64)
    return value, tuple((name, base64.b64decode(content)) for name, content in letter.headers)


def token_of(letter: DeadLetter) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of the token in it, as they are written there: nothing of this is verified."""
    for name, content in letter.headers:
        if name == SIGNATURE:
            parts = base64.b64decode(content).split(b".")[:_READABLE_PARTS]
            found = [_object(part) for part in parts]
            return (found[0], found[1]) if len(found) == _READABLE_PARTS else ({}, {})
    return {}, {}


def _object(part: bytes) -> dict[str, Any]:
    try:
        found = json.loads(base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _kind(record: Record) -> str | None:
    return next(
        (value.decode("ascii", "replace") for name, value in record.headers if name == TYPE_HEADER and value), None
    )
