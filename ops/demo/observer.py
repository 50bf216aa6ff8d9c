"""Reads what the topics say about the demo's requests: the judge, which takes nobody's word for it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from pydantic import ValidationError

from ops.demo.plan import TENANTS, Planned, requests_of
from producer_api.wire import Terminal, read_event
from schemas.connection import KafkaSettings
from schemas.events import Accepted, Canceled, DeadLetter, Duplicate, Failed, GenerationStep, Rejected, Succeeded
from schemas.topics import Topics
from transport.records import Record
from transport.tail import Tail

__all__ = ["Observed", "Observer", "pictures_of"]


@dataclass(slots=True)
class Observed:
    """What was said about one request id."""

    accepted: Accepted | None = None
    rejected: Rejected | None = None
    duplicates: list[Duplicate] = field(default_factory=list)
    ends: list[Terminal] = field(default_factory=list)
    dead: DeadLetter | None = None
    steps_done: float = 0.0
    """Share of the steps of the picture that is being made."""


class Observer:
    """Follows results, progress and dead letters from their beginning, and knows which id each planned request got."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self.on_change: Callable[[], None] | None = None
        """Called after each batch that was taken in."""
        self._ids: dict[tuple[str, int], str] = {}
        self._observed: dict[str, Observed] = {}
        self._changed = asyncio.Event()

    def sent(self, tenant: str, index: int, request_id: str) -> None:
        """Say which id the ``index``-th request of a tenant has."""
        self._ids[tenant, index] = request_id
        self._wake()

    def id_of(self, tenant: str, index: int) -> str | None:
        """The id of a request, once it was sent."""
        return self._ids.get((tenant, index))

    def about(self, tenant: str, index: int) -> Observed:
        """What is known about a request."""
        return self._observed.get(self._ids.get((tenant, index), ""), Observed())

    def everything(self) -> list[Observed]:
        """What is known about every id that the topics named."""
        return list(self._observed.values())

    def outcome(self, planned: Planned, index: int) -> str | None:
        """How a request ended, in the terms of ``Planned.ends``; None while it has not."""
        known = self.about(planned.tenant, index)
        if planned.repeats is not None:
            return "duplicate" if known.duplicates else None
        if known.dead is not None:
            return known.dead.cause.code
        if known.rejected is not None:
            return known.rejected.error.code
        if known.ends:
            end = known.ends[0]
            return end.error.code if isinstance(end, Failed) else end.TYPE.split(".")[-2]
        return None

    def done(self, tenant: str) -> float:
        """How much of a tenant's requests has ended, those that are being made in part."""
        total = 0.0
        for index, planned in enumerate(requests_of(tenant)):
            ended = self.outcome(planned, index) is not None
            part = 0.0 if planned.repeats is not None else self.about(tenant, index).steps_done
            total += 1.0 if ended else part
        return total

    def pending(self) -> list[str]:
        """The requests that have not ended: tenant and number, counted from 1."""
        return [
            f"{tenant.id} {index + 1}"
            for tenant in TENANTS
            for index, planned in enumerate(requests_of(tenant.id))
            if self.outcome(planned, index) is None
        ]

    async def until_ended(self) -> None:
        """Wait until every request has ended."""
        while self.pending():
            self._changed.clear()
            await self._changed.wait()

    async def follow(self) -> None:
        """Read until cancelled."""
        names = Topics(self._kafka.prefix)
        async with Tail(self._kafka, [names.results, names.progress, names.dead_letters]) as tail:
            async for batch in tail:
                self.take(batch)

    def take(self, batch: Iterable[Record]) -> None:
        """Take in records of the topics that ``follow`` reads."""
        for record in batch:
            if record.topic == Topics(self._kafka.prefix).dead_letters:
                self._take_dead_letter(record)
            else:
                self._take(record)
        self._wake()

    def _take(self, record: Record) -> None:
        event = read_event(record)
        if event is None:
            return
        known = self._observed.setdefault(event.request_id, Observed())
        match event:
            case Accepted():
                known.accepted = event
            case Rejected():
                known.rejected = event
            case Duplicate():
                known.duplicates.append(event)
            case GenerationStep():
                known.steps_done = event.step / max(1, event.steps)
            case Succeeded() | Failed() | Canceled():
                known.ends.append(event)
            case _:
                pass

    def _take_dead_letter(self, record: Record) -> None:
        try:
            letter = DeadLetter.model_validate_json(record.value or b"")
        except ValidationError:
            return
        ids = [base64.b64decode(value).decode("utf-8", "replace") for name, value in letter.headers if name == "ce_id"]
        self._observed.setdefault(ids[0] if ids else "", Observed()).dead = letter

    def _wake(self) -> None:
        self._changed.set()
        if self.on_change is not None:
            self.on_change()


def pictures_of(known: Observed) -> Succeeded | None:
    """The event that names the pictures of a request, if there are any."""
    return next((end for end in known.ends if isinstance(end, Succeeded)), None)
