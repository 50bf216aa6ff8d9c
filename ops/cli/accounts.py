"""Every tenant's account, as the usage topic tells it; and whether it adds up.

Each entry carries the balance after it. So what is kept is the last balance of each day and month: an entry that is
missing, or stands twice, breaks the chain of them, and a topic of any length fits into the memory of its accounts.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from pydantic import ValidationError

from schemas.connection import KafkaSettings
from schemas.envelope import Envelope
from schemas.errors import EaselError
from schemas.events import Balance, Usage, UsageHeld, UsageRefunded, UsageSettled
from schemas.topics import Topics
from transport.records import Record
from transport.tail import read_partition

__all__ = ["Account", "Accounts", "in_order", "read_accounts"]

_SHAPES: dict[str, type[Usage]] = {shape.TYPE: shape for shape in (UsageHeld, UsageSettled, UsageRefunded)}
_FIELDS = {UsageHeld: "held", UsageSettled: "settled", UsageRefunded: "refunded"}
_EASTERNMOST = timedelta(hours=14)
"""How far a tenant's midnight may be before the one of UTC."""
_TOLD = 100


@dataclass(frozen=True, slots=True)
class Account:
    """A tenant's units in a day, a month or all of it, in milli-units."""

    tenant: str
    period: str
    """``2026-11-21`` or ``2026-11``, in the tenant's time zone."""
    requests: int
    """Accepted in it, as far as its entries were read."""
    held: int
    settled: int
    refunded: int
    outstanding: int
    limit: int | None

    @property
    def left(self) -> int | None:
        """What may still be held in this period; None without a limit."""
        return None if self.limit is None else self.limit - self.settled - self.outstanding

    @property
    def is_day(self) -> bool:
        return len(self.period) == len("2026-11-21")


class Accounts:
    """Adds up usage events; give it each tenant's records in order."""

    def __init__(self, *, complete_from: date | None = None) -> None:
        """``complete_from``: the first day whose entries are all given, where they don't begin at the beginning."""
        self._given_from = None if complete_from is None else complete_from.isoformat()
        self._last: dict[tuple[str, str], Balance] = {}
        self._requests: Counter[tuple[str, str]] = Counter()
        self._moved: dict[str, Counter[str]] = {}
        self._complete_from: dict[int, str] = {}
        self._untold = 0
        self._problems: list[str] = []

    @property
    def problems(self) -> list[str]:
        """What does not add up, one line each."""
        more = [f"and {self._untold:,} more"] if self._untold else []
        return [*self._problems, *more]

    def add(self, records: Iterable[Record]) -> None:
        """Take in usage records; other kinds are passed over."""
        for record in records:
            complete_from = self._given_from or self._complete_from.get(record.partition)
            if complete_from is None:
                complete_from = self._complete_from[record.partition] = _first_whole_day(record)
            try:
                envelope = Envelope.read(record.headers, record.value)
                shape = _SHAPES.get(envelope.type)
                if shape is not None:
                    self._enter(envelope.id, shape.model_validate_json(envelope.data), complete_from)
            except (EaselError, ValidationError) as error:
                self._tell(f"{record.topic}[{record.partition}] offset {record.offset} is damaged: {error}")

    def accounts(self) -> list[Account]:
        """The newest balance of every day and month, by tenant, months before their days."""
        return [
            Account(
                tenant,
                period,
                self._requests[tenant, period],
                last.held,
                last.settled,
                last.refunded,
                last.outstanding,
                last.limit,
            )
            for (tenant, period), last in sorted(self._last.items())
        ]

    def totals(self, tenant: str) -> Account:
        """Everything a tenant held, settled and got back, from the entries alone."""
        total = self._moved.get(tenant, Counter())
        held, settled, refunded = total["held"], total["settled"], total["refunded"]
        return Account(tenant, "", total["requests"], held, settled, refunded, held - settled - refunded, None)

    def _enter(self, event_id: str, entry: Usage, complete_from: str) -> None:
        posted = [(balance, self._last.get((entry.tenant, balance.period))) for balance in (entry.day, entry.month)]
        if entry.milliunits and all(last is not None and _amounts(last) == _amounts(said) for said, last in posted):
            self._tell(f"the entry {event_id} of {entry.tenant} stands twice")
            return
        field = _FIELDS[type(entry)]
        moved = self._moved.setdefault(entry.tenant, Counter())
        moved[field] += entry.milliunits
        moved["requests"] += field == "held"
        for said, last in posted:
            account = (entry.tenant, said.period)
            self._last[account] = said
            self._requests[account] += field == "held"
            if last is None and f"{said.period}-01"[:10] < complete_from:
                # Its first entries were before those that were read.
                continue
            added = _after(last, field, entry.milliunits)
            if _amounts(said) != added:
                self._tell(
                    f"{entry.tenant} {said.period}: the balance says held, settled, refunded, outstanding "
                    f"{_amounts(said)}, its entries add up to {added}"
                )

    def _tell(self, problem: str) -> None:
        if len(self._problems) < _TOLD:
            self._problems.append(problem)
        else:
            self._untold += 1


async def read_accounts(kafka: KafkaSettings, since: date | None = None) -> Accounts:
    """Read the usage topic as it stands now; with ``since``, enough of it that days from then on are complete.

    Raises ``TransportError``.
    """
    topic = Topics(kafka.prefix).usage
    since_ms = None
    if since is not None:
        # A day more than the easternmost midnight needs.
        began = datetime(since.year, since.month, since.day, tzinfo=UTC) - _EASTERNMOST - timedelta(days=1)
        since_ms = int(began.timestamp() * 1000)
    found = Accounts(complete_from=since)
    partitions = [read_partition(kafka, topic, number, since_ms=since_ms) for number in range(kafka.partitions)]
    async for record in in_order(partitions):
        found.add([record])
    return found


async def in_order(partitions: Sequence[AsyncGenerator[list[Record], None]]) -> AsyncGenerator[Record, None]:
    """The records of several partitions in the order of their times: an account may have moved from one to another."""
    streams = [_each(batches) for batches in partitions]
    try:
        # All of them, also where one fails: a stream that still waits can't be closed.
        heads = await asyncio.gather(*(anext(stream, None) for stream in streams), return_exceptions=True)
        waiting: list[tuple[int, int, Record]] = []
        for number, head in enumerate(heads):
            if isinstance(head, BaseException):
                raise head
            if head is not None:
                waiting.append((head.timestamp_ms, number, head))
        heapq.heapify(waiting)
        while waiting:
            _, number, head = waiting[0]
            yield head
            following = await anext(streams[number], None)
            if following is None:
                heapq.heappop(waiting)
            else:
                heapq.heapreplace(waiting, (following.timestamp_ms, number, following))
    finally:
        for stream in streams:
            await stream.aclose()


async def _each(batches: AsyncGenerator[list[Record], None]) -> AsyncGenerator[Record, None]:
    async with aclosing(batches):
        async for batch in batches:
            for record in batch:
                yield record


def _first_whole_day(first: Record) -> str:
    """The first day of which all entries come after ``first``, wherever a tenant lives; any if nothing is before."""
    if first.offset == 0:
        return ""
    at = datetime.fromtimestamp(first.timestamp_ms / 1000, tz=UTC)
    return ((at + _EASTERNMOST).date() + timedelta(days=1)).isoformat()


def _amounts(balance: Balance) -> tuple[int, int, int, int]:
    return balance.held, balance.settled, balance.refunded, balance.outstanding


def _after(last: Balance | None, field: str, milliunits: int) -> tuple[int, int, int, int]:
    before = {"held": 0, "settled": 0, "refunded": 0}
    if last is not None:
        before = {"held": last.held, "settled": last.settled, "refunded": last.refunded}
    before[field] += milliunits
    held, settled, refunded = before["held"], before["settled"], before["refunded"]
    return held, settled, refunded, held - settled - refunded
