"""Everything that topics say when all is over, read as any subscriber could read it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ops.chaos.journal import NUMBER_HEADER
from schemas.audit import AUDIT_HEADER, AuditNote
from schemas.connection import KafkaSettings
from schemas.events import DeadLetter
from schemas.topics import Topics
from transport.errors import Unavailable
from transport.reader import bounds, open_reader
from transport.records import Record, TopicPartition
from transport.tail import read_partition
from transport.teardown import end_consumer

__all__ = ["ENDS", "Facts", "LedgerFacts", "Said", "Violation", "number_of", "read_facts"]

ENDS = frozenset({"generation.succeeded", "generation.failed", "generation.canceled"})

_LOOKS = 60
_LOOK_S = 0.5
_CALL_S = 10.0


@dataclass(frozen=True, slots=True)
class Said:
    """One event on one topic."""

    kind: str
    """Its type, without what all types have in common: ``generation.accepted``."""
    tenant: str
    request_id: str
    event_id: str
    content: dict[str, Any] = field(repr=False)
    partition: int
    offset: int
    at_ms: int
    note: AuditNote | None = None
    """Of an answer: the record that it answers."""

    @property
    def request(self) -> tuple[str, str]:
        return self.tenant, self.request_id

    @property
    def answers(self) -> tuple[str, int, int] | None:
        """The place of the record that it answers: input, partition and offset."""
        return None if self.note is None else (self.note.input, self.note.partition, self.note.offset)


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must not be: which rule, about what, and what was found."""

    rule: str
    about: str
    found: str
    count: int = 1
    """How many things, or milli-units, are wrong with it."""

    def __str__(self) -> str:
        return f"{self.rule}: {self.about}: {self.found}"


@dataclass(slots=True)
class LedgerFacts:
    """What the ledger holds at the end: the last value of each key, by what it is about."""

    accounts: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    next_offsets: dict[int, dict[str, int]] = field(default_factory=dict)


@dataclass(slots=True)
class Facts:
    """Each list in the order of its partitions, and within one in the order of the log."""

    requests: list[Record] = field(default_factory=list)
    rerouted: list[Record] = field(default_factory=list)
    results: list[Said] = field(default_factory=list)
    own_results: dict[str, list[Said]] = field(default_factory=dict)
    usage: list[Said] = field(default_factory=list)
    jobs: list[Said] = field(default_factory=list)
    outcomes: list[Said] = field(default_factory=list)
    control: list[Said] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    ledger: LedgerFacts = field(default_factory=LedgerFacts)
    ends: dict[str, dict[int, int]] = field(default_factory=dict)
    """Input of admission → partition → the offset after its last record."""


def number_of(record: Record) -> int | None:
    """The number under which the driver's journal has it."""
    for name, value in record.headers:
        if name == NUMBER_HEADER and value is not None and value.isdigit():
            return int(value)
    return None


async def read_facts(kafka: KafkaSettings, pools: Iterable[str], own_topics: Iterable[str]) -> Facts:
    """Read every topic to its end, what was committed of it.

    Raises ``Unavailable`` when transactions stay open: the end could not be seen.
    """
    topics, facts = Topics(kafka.prefix), Facts()
    jobs = [topics.jobs(pool) for pool in pools]
    counts = dict.fromkeys(jobs, kafka.jobs_partitions)
    named = [*topics.inputs().values(), topics.results, topics.usage, topics.control, topics.ledger]
    counts |= dict.fromkeys([*named, topics.dead_letters], kafka.partitions)
    own = {tenant: topics.results_of(tenant) for tenant in own_topics}
    counts |= dict.fromkeys(own.values(), 1)
    await _until_all_is_decided(kafka, counts)

    async def read(topic: str) -> list[Record]:
        found: list[Record] = []
        for partition in range(counts[topic]):
            async for records in read_partition(kafka, topic, partition):
                found += records
        return found

    async def said(topic: str) -> list[Said]:
        return [_said(record) for record in await read(topic)]

    facts.requests, facts.rerouted = await read(topics.requests), await read(topics.rerouted)
    facts.results, facts.usage = await said(topics.results), await said(topics.usage)
    facts.own_results = {tenant: await said(topic) for tenant, topic in own.items()}
    facts.jobs = [one for topic in jobs for one in await said(topic)]
    facts.outcomes, facts.control = await said(topics.outcomes), await said(topics.control)
    facts.dead_letters = [
        DeadLetter.model_validate_json(record.value or b"") for record in await read(topics.dead_letters)
    ]
    for record in await read(topics.ledger):
        _enter(facts.ledger, record)
    inputs: dict[str, Sequence[Record | Said]] = {
        "requests": facts.requests,
        "rerouted": facts.rerouted,
        "outcomes": facts.outcomes,
    }
    for name, records in inputs.items():
        facts.ends[name] = {record.partition: record.offset + 1 for record in records}
    return facts


async def _until_all_is_decided(kafka: KafkaSettings, counts: dict[str, int]) -> None:
    """Wait until no open transaction hides what lies behind it: until the ends are the same for all readers."""
    partitions = [TopicPartition(topic, number) for topic, count in counts.items() for number in range(count)]
    committed = await open_reader(kafka, "read_committed", timeout_s=_CALL_S)
    everything = await open_reader(kafka, "read_uncommitted", timeout_s=_CALL_S)
    try:
        for _ in range(_LOOKS):
            if await bounds(committed, partitions) == await bounds(everything, partitions):
                return
            await asyncio.sleep(_LOOK_S)
        raise Unavailable(
            f"transactions are open still {_LOOKS * _LOOK_S:.0f} s after all was stopped",
            "the broker's log says whose",
            where=kafka.bootstrap_servers,
        )
    finally:
        await end_consumer(committed)
        await end_consumer(everything)


def _said(record: Record) -> Said:
    headers = {name: (value or b"").decode() for name, value in record.headers}
    content = json.loads(record.value) if record.value else {}
    return Said(
        kind=headers.get("ce_type", "").removeprefix("easel.").removesuffix(".v1"),
        tenant=str(content.get("tenant")),
        request_id=str(content.get("request_id")),
        event_id=headers.get("ce_id", ""),
        content=content,
        partition=record.partition,
        offset=record.offset,
        at_ms=record.timestamp_ms,
        note=AuditNote.model_validate_json(headers[AUDIT_HEADER]) if AUDIT_HEADER in headers else None,
    )


def _enter(ledger: LedgerFacts, record: Record) -> None:
    kind, _, name = (record.key or b"").decode().partition("/")
    content = None if record.value is None else json.loads(record.value)
    if kind == "__offsets" and content is not None:
        ledger.next_offsets[record.partition] = content["next"]
    elif kind == "account" and content is not None:
        ledger.accounts[name] = content
    elif kind == "request":
        tenant, _, request_id = name.partition("/")
        if content is None:
            ledger.requests.pop((tenant, request_id), None)
        else:
            ledger.requests[tenant, request_id] = content
