"""What became of each record: read from the topics that everybody reads."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ops.hostile.publish import NUMBER, Sent
from ops.hostile.signed import Raw
from schemas.audit import AUDIT_HEADER
from schemas.connection import KafkaSettings
from schemas.errors import Code
from schemas.events import TERMINAL, Deleted, DeleteRefused
from schemas.topics import Topics
from transport.records import Record
from transport.tail import Tail

__all__ = ["Fates", "Judged"]

_ENDS = (Deleted.TYPE, DeleteRefused.TYPE)
_POLL_S = 0.2

Place = tuple[str, int, int]
"""Topic, partition, offset."""


@dataclass(slots=True)
class Judged:
    """What became of the hostile records."""

    dead_lettered: int = 0
    answered: int = 0
    missing: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """Answered where a dead letter was due, or the other way round; or met with an internal error."""
    codes: Counter[str] = field(default_factory=Counter)


class Fates:
    """Follows results, dead letters and what was rerouted. ``watch`` sees every record of a public topic."""

    def __init__(self, settings: KafkaSettings, watch: Callable[[Record], None] | None = None) -> None:
        self._settings = settings
        self._topics = Topics(settings.prefix)
        self._watch = watch
        self._told: dict[Place, list[str]] = defaultdict(list)
        self._deletes: dict[str, list[str]] = defaultdict(list)
        self._moved: dict[int, Place] = {}
        self._changed = time.monotonic()
        self.decided: dict[str, tuple[str, float]] = {}
        """Request → the first decision about it, and when it was seen here (monotonic)."""
        self.ended: dict[str, str] = {}
        """Request → the event that ended it."""

    async def follow(self) -> None:
        """Until cancelled."""
        topics = self._topics
        everything = [topics.results, topics.dead_letters, topics.rerouted, topics.usage, topics.progress]
        async with Tail(self._settings, everything) as tail:
            async for batch in tail:
                for record in batch:
                    self._take(record)
                self._changed = time.monotonic()

    async def until_settled(self, sent: Sent, good: set[str], *, quiet_s: float) -> None:
        """Until each record has a fate and each good request its end, or nothing has come for so long."""
        self._changed = time.monotonic()
        pending = list(sent.items())
        while time.monotonic() - self._changed < quiet_s:
            pending = [one for one in pending if not self._told_of(*one)]
            if not pending and good <= self.ended.keys():
                return
            await asyncio.sleep(_POLL_S)

    def judge(self, sent: Sent) -> Judged:
        """Every record against what was told of it."""
        found = Judged()
        for (partition, offset), (number, raw) in sent.items():
            told = self._told_of((partition, offset), (number, raw))
            line = f"{number} ({raw.kind}) at {partition}:{offset}: {', '.join(told) or 'nothing'}"
            if not told:
                found.missing.append(line)
                continue
            if len(told) > 1:
                found.doubled.append(line)
            what, _, code = told[0].partition(" ")
            dead = what == "dead"
            found.dead_lettered += dead
            found.answered += not dead
            found.codes[code or what] += 1
            if code == Code.INTERNAL_ERROR or (raw.fate != "either" and dead != (raw.fate == "dead")):
                found.wrong.append(line)
        return found

    def _told_of(self, place: tuple[int, int], one: tuple[int, Raw]) -> list[str]:
        """The answers to a record and the dead letters about it, also where it was moved to."""
        number, raw = one
        told = list(self._told.get((self._topics.requests, *place), ()))
        if number in self._moved:
            told += self._told.get(self._moved[number], ())
        return told + self._deletes.get(raw.event_id or "", [])

    def _take(self, record: Record) -> None:
        headers = dict(record.headers)
        if record.topic == self._topics.rerouted:
            if number := headers.get(NUMBER):
                self._moved[int(number)] = (record.topic, record.partition, record.offset)
            return
        if self._watch is not None:
            self._watch(record)
        if record.topic == self._topics.dead_letters:
            letter = json.loads(record.value or b"{}")
            self._told[letter["topic"], letter["partition"], letter["offset"]].append(f"dead {letter['cause']['code']}")
        elif record.topic == self._topics.results:
            self._result((headers["ce_type"] or b"").decode(), json.loads(record.value or b"{}"), headers)

    def _result(self, kind: str, data: dict[str, Any], headers: dict[str, bytes | None]) -> None:
        if kind in TERMINAL:
            self.ended[data["request_id"]] = kind
            return
        self.decided.setdefault(data["request_id"], (kind, time.monotonic()))
        told = f"{kind} {(data.get('error') or {}).get('code', '')}".rstrip()
        if note := headers.get(AUDIT_HEADER):
            by = json.loads(note)
            self._told[f"{self._settings.prefix}.{by['input']}", by["partition"], by["offset"]].append(told)
        elif kind in _ENDS:
            # The answer to a delete comes when a worker has done it, and names the delete alone.
            self._deletes[data["delete_id"]].append(told)
