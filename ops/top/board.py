"""What ``easel top`` knows: heartbeats, the last minute of results, the newest balances, the last hour's dead letters.

Pure: records come in, and ``snapshot`` says where things stand at a moment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from pydantic import ValidationError

from schemas.envelope import Envelope
from schemas.errors import EaselError
from schemas.events import (
    TERMINAL,
    Accepted,
    Balance,
    DeadLetter,
    Rejected,
    Usage,
    UsageHeld,
    UsageRefunded,
    UsageSettled,
)
from schemas.fleet import HEARD_WITHIN_MS, Heartbeat
from transport.records import Record

__all__ = ["DEAD_LETTERS_MS", "WINDOW_MS", "Board", "Instance", "Snapshot", "TenantRow", "Totals"]

WINDOW_MS = 60_000
"""Rates and refusals are those of the last minute."""
DEAD_LETTERS_MS = 3_600_000
_SILENT_SHOWN_MS = 60_000
"""Who was killed leaves no word: it is shown as silent for so long, then no more."""

_USAGE: dict[str, type[Usage]] = {shape.TYPE: shape for shape in (UsageHeld, UsageSettled, UsageRefunded)}


@dataclass(slots=True)
class TenantRow:
    """One tenant. Units are milli-units; counts by the minute are of the last one."""

    tenant: str
    queued: int = 0
    running: int = 0
    accepted_a_minute: int = 0
    ended_a_minute: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    """Code → how many."""
    milliunits_a_minute: int = 0
    """Settled."""
    day: str | None = None
    day_milliunits: int | None = None
    """Charged or set aside on its newest day; None: nothing in the last day."""
    day_limit_milliunits: int | None = None


@dataclass(frozen=True, slots=True)
class Instance:
    """A worker or an instance of admission, as it was last heard."""

    beat: Heartbeat
    age_ms: int
    alive: bool

    @property
    def state(self) -> str:
        """``ready``, ``draining``, ``unready`` or ``silent``."""
        if not self.alive:
            return "silent"
        if self.beat.draining:
            return "draining"
        return "ready" if self.beat.ready else "unready"


@dataclass(slots=True)
class Totals:
    """Of all tenants."""

    queued: int = 0
    running: int = 0
    accepted_a_minute: int = 0
    ended_a_minute: int = 0
    refused_a_minute: int = 0
    milliunits_a_minute: int = 0
    dead_letters_an_hour: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything at one moment, in the order in which it is shown."""

    at_ms: int
    tenants: list[TenantRow]
    workers: list[Instance]
    admission: list[Instance]
    dead_letters: dict[str, int]
    """Code → how many in the last hour."""
    totals: Totals


class Board:
    """Takes in records, oldest first within a partition, and forgets what has grown old."""

    def __init__(self) -> None:
        self._heard: dict[str, tuple[Heartbeat, int]] = {}
        self._told: list[tuple[int, str, str, str]] = []
        self._settled: list[tuple[int, str, int]] = []
        self._letters: list[tuple[int, str]] = []
        self._balances: dict[str, Balance] = {}

    def fleet(self, records: Iterable[Record]) -> None:
        """Heartbeats; a null value says that an instance left."""
        for record in records:
            name = (record.key or b"").decode(errors="replace")
            if record.value is None:
                self._heard.pop(name, None)
                continue
            try:
                self._heard[name] = Heartbeat.model_validate_json(record.value), record.timestamp_ms
            except ValidationError:
                continue

    def results(self, records: Iterable[Record]) -> None:
        """Decisions and ends."""
        for record in records:
            kind = next((value or b"" for name, value in record.headers if name == "ce_type"), b"").decode()
            tenant = (record.key or b"").decode(errors="replace")
            if kind == Accepted.TYPE:
                self._told.append((record.timestamp_ms, tenant, "accepted", ""))
            elif kind in TERMINAL:
                self._told.append((record.timestamp_ms, tenant, "ended", ""))
            elif kind == Rejected.TYPE:
                self._told.append((record.timestamp_ms, tenant, "refused", _code(record)))

    def usage(self, records: Iterable[Record]) -> None:
        """Movements of units."""
        for record in records:
            try:
                envelope = Envelope.read(record.headers, record.value)
                if (shape := _USAGE.get(envelope.type)) is None:
                    continue
                entry = shape.model_validate_json(envelope.data)
            except (EaselError, ValidationError):
                continue
            known = self._balances.get(entry.tenant)
            # A late entry may be posted to the day before.
            if known is None or entry.day.period >= known.period:
                self._balances[entry.tenant] = entry.day
            if isinstance(entry, UsageSettled):
                self._settled.append((record.timestamp_ms, entry.tenant, entry.milliunits))

    def dead_letters(self, records: Iterable[Record]) -> None:
        """Records that were refused unread."""
        for record in records:
            try:
                letter = DeadLetter.model_validate_json(record.value or b"")
            except ValidationError:
                continue
            self._letters.append((record.timestamp_ms, str(letter.cause.code)))

    def snapshot(self, now_ms: int) -> Snapshot:
        """Where things stand at ``now_ms``."""
        self._forget(now_ms)
        instances = [
            Instance(beat, now_ms - at_ms, now_ms - at_ms < HEARD_WITHIN_MS)
            for _, (beat, at_ms) in sorted(self._heard.items())
            if now_ms - at_ms < _SILENT_SHOWN_MS
        ]
        admission = [one for one in instances if one.beat.stage == "admission"]
        workers = [one for one in instances if one.beat.stage == "generation"]
        workers.sort(key=lambda one: (one.beat.pool or "", one.beat.instance))
        letters = Counter(code for _, code in self._letters)
        tenants = self._tenants(admission)
        totals = Totals(dead_letters_an_hour=letters.total())
        for row in tenants:
            totals.queued += row.queued
            totals.running += row.running
            totals.accepted_a_minute += row.accepted_a_minute
            totals.ended_a_minute += row.ended_a_minute
            totals.refused_a_minute += sum(row.refused.values())
            totals.milliunits_a_minute += row.milliunits_a_minute
        return Snapshot(now_ms, tenants, workers, admission, dict(letters.most_common()), totals)

    def _tenants(self, admission: Iterable[Instance]) -> list[TenantRow]:
        rows: dict[str, TenantRow] = {}

        def row(tenant: str) -> TenantRow:
            return rows.setdefault(tenant, TenantRow(tenant))

        for tenant, balance in self._balances.items():
            found = row(tenant)
            found.day, found.day_limit_milliunits = balance.period, balance.limit
            found.day_milliunits = balance.held - balance.refunded
        for instance in admission:
            for tenant, count in instance.beat.tenants.items() if instance.alive else ():
                row(tenant).queued += count.queued
                row(tenant).running += count.running
        for _, tenant, what, code in self._told:
            found = row(tenant)
            if what == "accepted":
                found.accepted_a_minute += 1
            elif what == "ended":
                found.ended_a_minute += 1
            else:
                found.refused[code] = found.refused.get(code, 0) + 1
        for _, tenant, milliunits in self._settled:
            row(tenant).milliunits_a_minute += milliunits
        return sorted(rows.values(), key=_busiest_first)

    def _forget(self, now_ms: int) -> None:
        self._told = [entry for entry in self._told if entry[0] > now_ms - WINDOW_MS]
        self._settled = [entry for entry in self._settled if entry[0] > now_ms - WINDOW_MS]
        self._letters = [entry for entry in self._letters if entry[0] > now_ms - DEAD_LETTERS_MS]


def _busiest_first(row: TenantRow) -> tuple[int, int, str]:
    return -(row.queued + row.running), -(row.accepted_a_minute + sum(row.refused.values())), row.tenant


def _code(record: Record) -> str:
    try:
        return str(Rejected.model_validate_json(record.value or b"").error.code)
    except ValidationError:
        return "?"
