"""What goes where when the number of partitions changes. Pure.

Every record of the ledger about a tenant has a key ``<kind>/<tenant>`` or ``<kind>/<tenant>/…``, and lives where the
tenant's name hashes to. Records whose keys begin with ``__`` are the partition's own and stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json, to_json

from consumer.admission.ledger import INIT_KEY, OFFSETS_KEY, Init, offsets_record
from consumer.admission.state import PartitionState
from schemas.topics import ADMISSION_INPUTS
from transport.partitioning import partition_of

__all__ = ["Book", "Marks", "Times", "home_of", "leaving", "offsets_after", "placed"]

_ACCOUNT = b"account/"


@dataclass(frozen=True)
class Book:
    """The content of one partition of the ledger: the last value of every key."""

    partition: int
    latest: Mapping[bytes, bytes]

    @property
    def init(self) -> Init | None:
        value = self.latest.get(INIT_KEY)
        return None if value is None else Init.model_validate_json(value)

    @property
    def marks(self) -> Marks:
        value = self.latest.get(OFFSETS_KEY)
        content = {} if value is None else from_json(value)
        return Marks(*(content.get(name, 0) for name in Marks.__annotations__))

    @property
    def times(self) -> Times:
        """The partition's own time, by which its tenants' turns are counted: pool → tag."""
        value = self.latest.get(OFFSETS_KEY)
        content = {} if value is None else from_json(value)
        return Times(content.get("times", {}), content.get("turn", 0))


@dataclass(frozen=True)
class Marks:
    """How far a partition has come, by its own counts."""

    sequence: int
    clock_ms: int
    tenants_version: int


@dataclass(frozen=True)
class Times:
    """How far a partition has served each pool, and all of them for readers that know no pools."""

    pools: Mapping[str, int] = field(default_factory=dict)
    all: int = 0


def home_of(key: bytes, partitions: int) -> int | None:
    """The partition that a key of the ledger belongs to; None for those of the partition itself."""
    if key.startswith(b"__"):
        return None
    return partition_of(key.split(b"/")[1], partitions)


def leaving(book: Book, partitions: int) -> Iterator[tuple[bytes, int]]:
    """The keys that do not stay, each with the partition that it goes to."""
    for key in book.latest:
        home = home_of(key, partitions)
        if home is not None and home != book.partition:
            yield key, home


def placed(key: bytes, value: bytes, *, before: Times, after: Times) -> bytes:
    """A value as it stands in its new place: as it was, but that an account keeps its lead over the others' turn.

    A tenant's tag counts from its partition's own time, which runs at another pace everywhere: taken over as it is, the
    tenant would wait for ever, or go before all others for as long.
    """
    if not key.startswith(_ACCOUNT):
        return value
    content: dict[str, Any] = from_json(value)
    content["turn"] = after.all + max(0, content["turn"] - before.all)
    if "turns" in content:
        content["turns"] = {
            pool: after.pools.get(pool, 0) + max(0, tag - before.pools.get(pool, 0))
            for pool, tag in content["turns"].items()
        }
    return to_json(content)


def offsets_after(book: Book, highest: Marks) -> bytes:
    """A partition's ``__offsets`` after the move: it reads on where it was, a new one from the beginning.

    What must never run backwards for a tenant has come at least as far as on any partition that the tenant can be from.
    """
    value = book.latest.get(OFFSETS_KEY)
    if value is None:
        state = PartitionState()
        init = book.init
        state.next_offsets = dict.fromkeys(ADMISSION_INPUTS, 0) if init is None else dict(init.start)
        value = offsets_record("", book.partition, state).value
    content: dict[str, Any] = from_json(value or b"{}")
    content["sequence"] = max(content["sequence"], highest.sequence)
    content["clock_ms"] = max(content["clock_ms"], highest.clock_ms)
    content["tenants_version"] = max(content["tenants_version"], highest.tenants_version)
    return to_json(content)
