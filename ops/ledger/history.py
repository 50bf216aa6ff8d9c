"""What usage and results still tell of a lost ledger: balances, which requests had ended, and which were open. Pure.

Usage is kept for 400 days, so every balance and every hold is known. Results are kept for 7, longer than ended ids must
be remembered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError
from pydantic_core import from_json

from consumer.admission.keys import RequestKey
from consumer.admission.quota import Account, Period
from consumer.admission.requests import EndState, OpenRequest
from schemas.audit import AUDIT_HEADER, AuditNote
from schemas.envelope import Envelope
from schemas.errors import EaselError
from schemas.events import TERMINAL, Accepted, Balance, Usage, UsageHeld, UsageRefunded, UsageSettled
from schemas.requests import Parameters
from transport.records import Record

__all__ = ["End", "History"]

_USAGE: dict[str, type[Usage]] = {shape.TYPE: shape for shape in (UsageHeld, UsageSettled, UsageRefunded)}
_KEPT = 3
_UNKNOWN = ""
"""The body of a request whose acceptance is no longer in the results: no body equals it, so a repetition is refused."""
_ENDS: dict[str, EndState] = {
    "easel.generation.succeeded.v1": "succeeded",
    "easel.generation.failed.v1": "failed",
    "easel.generation.canceled.v1": "canceled",
}


@dataclass(frozen=True, slots=True)
class End:
    """A request that had ended."""

    state: EndState
    at_ms: int
    body_sha256: str


class History:
    """Takes in usage and results, each in the order of their times."""

    def __init__(self) -> None:
        self.clock_ms = 0
        self.decided: dict[tuple[str, int], int] = {}
        """Input, partition → the offset after the last record of which a decision is told."""
        self.tenants_version = 0
        self._holds: dict[RequestKey, tuple[UsageHeld, int]] = {}
        self._balances: dict[tuple[str, str], Balance] = {}
        self._bodies: dict[RequestKey, str] = {}
        self._ends: dict[RequestKey, tuple[EndState, int]] = {}

    def usage(self, record: Record) -> None:
        """A movement of units. Raises ``ValueError`` for one that can't be read: nothing may be left out here."""
        try:
            envelope = Envelope.read(record.headers, record.value)
            if (shape := _USAGE.get(envelope.type)) is None:
                return
            entry = shape.model_validate_json(envelope.data)
        except (EaselError, ValidationError) as error:
            raise ValueError(f"{record.topic}[{record.partition}] offset {record.offset} is damaged: {error}") from None
        self.clock_ms = max(self.clock_ms, record.timestamp_ms)
        key = RequestKey(entry.tenant, entry.request_id)
        if isinstance(entry, UsageHeld):
            self._holds[key] = entry, record.timestamp_ms
        else:
            # What ends without a picture is refunded whole; with fewer than asked for, both come in one transaction.
            self._holds.pop(key, None)
        for balance in (entry.day, entry.month):
            self._balances[entry.tenant, balance.period] = balance

    def result(self, record: Record) -> None:
        """A decision or an end."""
        headers = dict(record.headers)
        kind = (headers.get("ce_type") or b"").decode(errors="replace")
        self.clock_ms = max(self.clock_ms, record.timestamp_ms)
        note = headers.get(AUDIT_HEADER)
        asked = AuditNote.model_validate_json(note) if note else None
        if asked is not None:
            self.tenants_version = max(self.tenants_version, asked.tenants_version)
            place = asked.input, asked.partition
            self.decided[place] = max(self.decided.get(place, 0), asked.offset + 1)
        if kind != Accepted.TYPE and kind not in TERMINAL:
            return
        data = from_json(record.value or b"{}")
        key = RequestKey(data["tenant"], data["request_id"])
        if kind == Accepted.TYPE and asked is not None:
            self._bodies[key] = asked.body_sha256
        elif kind in TERMINAL:
            self._ends[key] = _ENDS[kind], record.timestamp_ms

    def accounts(self) -> dict[str, Account]:
        """Every tenant's account: its newest days and months, and those in which something is still held."""
        found: dict[str, dict[str, Period]] = {}
        for (tenant, period), balance in self._balances.items():
            found.setdefault(tenant, {})[period] = Period(balance.held, balance.settled, balance.refunded)
        return {
            tenant: Account(tenant, days=_newest(periods, 10), months=_newest(periods, 7))
            for tenant, periods in found.items()
        }

    def ends(self, since_ms: int) -> dict[RequestKey, End]:
        """The requests that ended after ``since_ms``."""
        return {
            key: End(state, at_ms, self._bodies.get(key, _UNKNOWN))
            for key, (state, at_ms) in self._ends.items()
            if at_ms > since_ms
        }

    def open(self) -> list[OpenRequest]:
        """The requests whose cost is held. What they asked for is not known any more."""
        return [
            OpenRequest(
                key=key,
                state="dispatched",
                body_sha256=self._bodies.get(key, _UNKNOWN),
                sequence=0,
                accepted_ms=at_ms,
                cost=held.milliunits,
                work=held.milliunits,
                day=held.day.period,
                month=held.month.period,
                pool="",
                parameters=_nothing_known(held.model),
                metadata={},
            )
            for key, (held, at_ms) in self._holds.items()
        ]


def _newest(periods: Mapping[str, Period], length: int) -> dict[str, Period]:
    mine = sorted(name for name in periods if len(name) == length)
    kept = set(mine[-_KEPT:]) | {name for name in mine if periods[name].outstanding}
    return {name: periods[name] for name in mine if name in kept}


def _nothing_known(model: str) -> Parameters:
    return Parameters(model=model, prompt="", images=1, width=0, height=0, steps=0, guidance=0.0, seed=0)
