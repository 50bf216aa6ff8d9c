"""Follows the topics while the run lasts: how far it has come, who owns what, and when things became visible."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from ops.chaos.installation import PARTITIONS
from schemas.connection import KafkaSettings
from schemas.events import (
    TERMINAL,
    Accepted,
    CancelAccepted,
    CancelRefused,
    Deleted,
    DeleteRefused,
    Duplicate,
    Priced,
    Rejected,
)
from schemas.fleet import Heartbeat
from schemas.jobs import DeleteAssigned, JobCanceled, JobFailed, JobReleased, JobStarted, JobSucceeded
from schemas.topics import Topics
from transport.partitioning import partition_of
from transport.records import Record
from transport.tail import Tail

__all__ = ["Attempt", "Hidden", "Observer", "Report"]

_ANSWERS = frozenset(
    shape.TYPE
    for shape in (Accepted, Rejected, Duplicate, Priced, CancelAccepted, CancelRefused, Deleted, DeleteRefused)
)
_ENDS = frozenset(shape.TYPE for shape in (JobSucceeded, JobFailed, JobReleased, JobCanceled))
_OFFSETS_KEY = b"__offsets"
_WORTH_KEEPING_MS = 100

Attempt = tuple[str, str]
"""Tenant and request id of a job."""


@dataclass(frozen=True, slots=True)
class Report:
    """A worker said something of a job."""

    at_ms: int
    job: Attempt
    worker: str


@dataclass(frozen=True, slots=True)
class Hidden:
    """A record lay in the log for a while before a reader of what is committed could see it."""

    appended_ms: int
    for_ms: int
    writer: int
    """The partition of admission that wrote it."""


@dataclass(slots=True)
class Observer:
    """What is known so far. Times are ms since 1970, by this machine's one clock."""

    kafka: KafkaSettings
    accepted: int = 0
    answers: int = 0
    ended: int = 0
    changed_at: float = field(default_factory=time.monotonic)
    """When something was last committed or reported, by the monotonic clock."""
    commits: dict[int, list[int]] = field(default_factory=lambda: {number: [] for number in range(PARTITIONS)})
    """Per partition of admission, when it committed."""
    reports: list[Report] = field(default_factory=list)
    running: dict[Attempt, str] = field(default_factory=dict)
    """Jobs that were started and have not ended, and where."""
    deletes: set[str] = field(default_factory=set)
    """Those that went to a worker, by their ids."""
    deleted: set[str] = field(default_factory=set)
    """Those that were answered."""
    hidden: list[Hidden] = field(default_factory=list)
    instances: dict[str, Heartbeat] = field(default_factory=dict)
    """By name; those that left are not there, those that were killed are."""
    next_offsets: dict[int, dict[str, int]] = field(default_factory=dict)
    """Per partition of admission, how far the ledger says that it has read each input."""

    async def follow(self) -> None:
        """Take in everything, until cancelled."""
        topics = Topics(self.kafka.prefix)
        named = [topics.results, topics.ledger, topics.outcomes, topics.jobs("default"), topics.fleet]
        async with Tail(self.kafka, named) as tail:
            async for records in tail:
                self._take(records, topics)

    def instance_of(self, pid: int, name: str | None) -> Heartbeat | None:
        """What the process last told of itself: under its ``name``, or one that it made with its pid in it."""
        if name is not None:
            return self.instances.get(name)
        return next((beat for made, beat in self.instances.items() if made.split("-")[-2:-1] == [str(pid)]), None)

    def ready(self, stage: str) -> int:
        """How many of a stage say that they are ready."""
        return sum(beat.ready for beat in self.instances.values() if beat.stage == stage)

    def all_ended(self) -> bool:
        """Whether nothing that was begun is still to end."""
        return self.ended >= self.accepted and self.deletes <= self.deleted

    def _take(self, records: Iterable[Record], topics: Topics) -> None:
        now_ms = int(time.time() * 1000)
        for record in records:
            if record.topic == topics.fleet:
                self._heard(record)
                continue
            self.changed_at = time.monotonic()
            if record.topic == topics.ledger:
                self._committed(record)
                continue
            kind = _type(record)
            if record.topic == topics.outcomes:
                self._reported(record, kind)
                continue
            content = _content(record)
            self._visible(record, str(content.get("tenant")), now_ms)
            if kind == DeleteAssigned.TYPE:
                self.deletes.add(str(content.get("delete_id")))
            if kind == Deleted.TYPE:
                self.deleted.add(str(content.get("delete_id")))
            if record.topic == topics.results:
                self.answers += kind in _ANSWERS
                self.accepted += kind == Accepted.TYPE
                self.ended += kind in TERMINAL

    def _heard(self, record: Record) -> None:
        name = (record.key or b"").decode()
        if record.value is None:
            self.instances.pop(name, None)
            return
        try:
            self.instances[name] = Heartbeat.model_validate_json(record.value)
        except ValidationError:
            return

    def _committed(self, record: Record) -> None:
        if record.key == _OFFSETS_KEY:
            self.commits[record.partition].append(record.timestamp_ms)
            self.next_offsets[record.partition] = dict(_content(record).get("next", {}))

    def _reported(self, record: Record, kind: str) -> None:
        content = _content(record)
        job, worker = (str(content.get("tenant")), str(content.get("request_id"))), str(content.get("worker"))
        self.reports.append(Report(record.timestamp_ms, job, worker))
        if kind == JobStarted.TYPE:
            self.running[job] = worker
        elif kind in _ENDS and self.running.get(job) == worker:
            del self.running[job]

    def _visible(self, record: Record, tenant: str, now_ms: int) -> None:
        for_ms = now_ms - record.timestamp_ms
        if for_ms >= _WORTH_KEEPING_MS:
            self.hidden.append(Hidden(record.timestamp_ms, for_ms, partition_of(tenant.encode(), PARTITIONS)))


def _type(record: Record) -> str:
    return next(((value or b"").decode() for name, value in record.headers if name == "ce_type"), "")


def _content(record: Record) -> dict[str, Any]:
    content = json.loads(record.value) if record.value else {}
    return content if isinstance(content, dict) else {}
