"""Every tenant's account, as the usage topic tells it; and whether it adds up."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import ValidationError

from schemas.connection import KafkaSettings
from schemas.envelope import Envelope
from schemas.errors import EaselError
from schemas.events import Balance, Usage, UsageHeld, UsageRefunded, UsageSettled
from schemas.topics import Topics
from transport.errors import Misconfigured
from transport.records import Record
from transport.tail import read_partition

__all__ = ["Account", "Accounts", "read_accounts"]

_SHAPES: dict[str, type[Usage]] = {shape.TYPE: shape for shape in (UsageHeld, UsageSettled, UsageRefunded)}
_FIELDS = {UsageHeld: "held", UsageSettled: "settled", UsageRefunded: "refunded"}


@dataclass(frozen=True, slots=True)
class Account:
    """A tenant's units in a day or a month, in milli-units."""

    tenant: str
    period: str
    """``2026-11-21`` or ``2026-11``, in the tenant's time zone."""
    held: int
    settled: int
    refunded: int
    outstanding: int
    limit: int | None

    @property
    def left(self) -> int | None:
        """What may still be held in this period; None without a limit."""
        return None if self.limit is None else self.limit - self.settled - self.outstanding


class Accounts:
    """Adds up usage events; give it each partition's records in order."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], Balance] = {}
        self._sums: dict[tuple[str, str], Counter[str]] = {}
        self._seen: set[str] = set()
        self.problems: list[str] = []
        """What does not add up, one line each."""

    def add(self, records: Iterable[Record]) -> None:
        """Take in usage records; other kinds are passed over."""
        for record in records:
            try:
                envelope = Envelope.read(record.headers, record.value)
                shape = _SHAPES.get(envelope.type)
                if shape is not None:
                    self._enter(envelope.id, shape.model_validate_json(envelope.data))
            except (EaselError, ValidationError) as error:
                self.problems.append(f"{record.topic}[{record.partition}] offset {record.offset} is damaged: {error}")

    def accounts(self) -> list[Account]:
        """The newest balance of every day and month, by tenant, months before their days."""
        return [
            Account(tenant, period, last.held, last.settled, last.refunded, last.outstanding, last.limit)
            for (tenant, period), last in sorted(self._last.items())
        ]

    def totals(self, tenant: str) -> Account:
        """Everything a tenant ever held, settled and got back, from the entries alone."""
        total: Counter[str] = Counter()
        for (owner, period), sums in self._sums.items():
            # A day lies in exactly one month: the months alone hold each entry once.
            if owner == tenant and len(period) == len("2026-11"):
                total.update(sums)
        held, settled, refunded = total["held"], total["settled"], total["refunded"]
        return Account(tenant, "", held, settled, refunded, held - settled - refunded, None)

    def _enter(self, event_id: str, entry: Usage) -> None:
        if event_id in self._seen:
            self.problems.append(f"the entry {event_id} of {entry.tenant} stands twice")
            return
        self._seen.add(event_id)
        for balance in (entry.day, entry.month):
            account = (entry.tenant, balance.period)
            sums = self._sums.setdefault(account, Counter())
            sums[_FIELDS[type(entry)]] += entry.milliunits
            self._last[account] = balance
            outstanding = sums["held"] - sums["settled"] - sums["refunded"]
            said = (balance.held, balance.settled, balance.refunded, balance.outstanding)
            added = (sums["held"], sums["settled"], sums["refunded"], outstanding)
            if said != added:
                self.problems.append(
                    f"{entry.tenant} {balance.period}: the balance says held, settled, refunded, outstanding {said}, "
                    f"its entries add up to {added}"
                )


async def read_accounts(kafka: KafkaSettings) -> Accounts:
    """Read the whole usage topic as it stands now. Raises ``TransportError``."""
    topic = Topics(kafka.prefix).usage
    found = Accounts()

    async def read(partition: int) -> None:
        async for records in read_partition(kafka, topic, partition):
            found.add(records)

    try:
        async with asyncio.TaskGroup() as group:
            for partition in range(kafka.partitions):
                group.create_task(read(partition))
    except* Misconfigured as several:
        raise several.exceptions[0] from None
    return found
