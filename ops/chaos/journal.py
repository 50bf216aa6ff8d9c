"""What the driver sent, and what the broker acknowledged: a file that is only appended to.

The verifier knows from it what must exist. A request that was not acknowledged may exist or not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

__all__ = ["CANCELS", "FORGED", "NUMBER_HEADER", "Acked", "Journal", "Sent", "SentKind", "read_journal"]

NUMBER_HEADER = "chaos_n"
"""On each record of the driver: the number of its line in the journal."""

SentKind = Literal[
    "valid",
    "misplaced",
    "duplicate",
    "conflict",
    "keyed",
    "invalid",
    "too_late",
    "hurried",
    "poison",
    "bad_signature",
    "unknown_key",
    "changed_body",
    "unsigned",
    "garbage",
    "cancel",
    "cancel_unknown",
]
FORGED: frozenset[str] = frozenset({"bad_signature", "unknown_key", "changed_body", "unsigned", "garbage"})
"""No tenant stands behind these: they end as dead letters."""
CANCELS: frozenset[str] = frozenset({"cancel", "cancel_unknown"})


class Sent(BaseModel):
    """Given to the client to be published."""

    model_config = ConfigDict(frozen=True)
    what: Literal["sent"] = "sent"
    n: int
    kind: SentKind
    tenant: str
    event_id: str
    partition: int
    about: str | None = None
    """Of a cancel: the request."""
    key: str | None = None
    """The idempotency key."""


class Acked(BaseModel):
    """The broker has it, at this place."""

    model_config = ConfigDict(frozen=True)
    what: Literal["acked"] = "acked"
    n: int
    partition: int
    offset: int


_LINE: TypeAdapter[Sent | Acked] = TypeAdapter(Sent | Acked)


class Journal:
    """Appends to the file, a line at once."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self.sent = 0
        self.acked = 0

    def note(self, line: Sent | Acked) -> None:
        self._file.write(line.model_dump_json(exclude_none=True) + "\n")
        if isinstance(line, Sent):
            self.sent += 1
        else:
            self.acked += 1

    def close(self) -> None:
        self._file.close()


@dataclass(slots=True)
class Line:
    """One publication, and its acknowledgement if there was one."""

    sent: Sent
    acked: Acked | None = None


def read_journal(path: Path) -> dict[int, Line]:
    """By number."""
    lines: dict[int, Line] = {}
    for line in _lines(path):
        if isinstance(line, Sent):
            lines[line.n] = Line(line)
        else:
            lines[line.n].acked = line
    return lines


def _lines(path: Path) -> Iterator[Sent | Acked]:
    with path.open(encoding="utf-8") as file:
        for text in file:
            yield _LINE.validate_json(text)
