"""What the driver sent, what the broker acknowledged, and the rules in force: a file that is only appended to.

The verifier knows from it what must exist. A request that was not acknowledged may exist or not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

__all__ = [
    "CANCELS",
    "DELETES",
    "DRY_RUNS",
    "FORGED",
    "NUMBER_HEADER",
    "Acked",
    "Journal",
    "Line",
    "RulesWritten",
    "Sent",
    "SentKind",
    "Story",
    "TenantRules",
    "read_journal",
]

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
    "delete",
    "delete_unknown",
    "dry_run",
    "wanted",
]
FORGED: frozenset[str] = frozenset({"bad_signature", "unknown_key", "changed_body", "unsigned", "garbage"})
"""No tenant stands behind these: they end as dead letters."""
CANCELS: frozenset[str] = frozenset({"cancel", "cancel_unknown"})
DELETES: frozenset[str] = frozenset({"delete", "delete_unknown"})
DRY_RUNS: frozenset[str] = frozenset({"dry_run"})
"""They ask for a price alone. Some are followed by a request, ``wanted``, under the same id."""


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
    """Of a cancel or a delete: the request."""
    key: str | None = None
    """The idempotency key."""


class Acked(BaseModel):
    """The broker has it, at this place."""

    model_config = ConfigDict(frozen=True)
    what: Literal["acked"] = "acked"
    n: int
    partition: int
    offset: int


class TenantRules(BaseModel):
    """What a version of ``tenants.yaml`` says of a tenant, as far as answers can be held against it."""

    model_config = ConfigDict(frozen=True)
    suspended: bool
    day_milliunits: int | None = None


class RulesWritten(BaseModel):
    """A version of ``tenants.yaml`` was about to be written: no answer names it before."""

    model_config = ConfigDict(frozen=True)
    what: Literal["rules"] = "rules"
    version: int
    tenants: dict[str, TenantRules]


_LINE: TypeAdapter[Sent | Acked | RulesWritten] = TypeAdapter(Sent | Acked | RulesWritten)


class Journal:
    """Appends to the file, a line at once."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self.sent = 0
        self.acked = 0

    def note(self, line: Sent | Acked | RulesWritten) -> None:
        self._file.write(line.model_dump_json(exclude_none=True) + "\n")
        self.sent += isinstance(line, Sent)
        self.acked += isinstance(line, Acked)

    def close(self) -> None:
        self._file.close()


@dataclass(slots=True)
class Line:
    """One publication, and its acknowledgement if there was one."""

    sent: Sent
    acked: Acked | None = None


@dataclass(slots=True)
class Story:
    """The journal as it was read."""

    lines: dict[int, Line] = field(default_factory=dict)
    """By number."""
    rules: dict[int, dict[str, TenantRules]] = field(default_factory=dict)
    """By the version of ``tenants.yaml``, then by tenant."""


def read_journal(path: Path) -> Story:
    """All of it."""
    story = Story()
    for line in _lines(path):
        match line:
            case Sent():
                story.lines[line.n] = Line(line)
            case Acked():
                story.lines[line.n].acked = line
            case RulesWritten():
                story.rules[line.version] = line.tenants
    return story


def _lines(path: Path) -> Iterator[Sent | Acked | RulesWritten]:
    with path.open(encoding="utf-8") as file:
        for text in file:
            yield _LINE.validate_json(text)
