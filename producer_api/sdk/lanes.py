"""One partition of a subscription: its events to the handler, one after the other."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from producer_api.sdk.exceptions import HandlerFailed
from producer_api.wire import TenantEvent, read_event
from transport.records import Record

__all__ = ["Handler", "Lane", "Positions", "Received"]

log = logging.getLogger(__name__)

_TRIES = 5
_BACKOFF_S = 0.25
_REMEMBERED = 10_000
"""Ids of events: one that was published twice is handled once, if not more than these came between."""


@dataclass(frozen=True, slots=True)
class Received:
    """An event, and where it lies."""

    event: TenantEvent
    id: str
    """The event's own id (``ce_id``): the same each time that this event comes."""
    topic: str
    partition: int
    offset: int
    at: datetime
    """When the broker took it, in UTC."""
    traceparent: str | None = None

    @property
    def next_offset(self) -> int:
        """Where to go on after this event."""
        return self.offset + 1


Handler = Callable[[Received], Awaitable[None]]
"""Called with one event at a time of each partition. It has handled the event when it returns."""
Positions = Callable[[str, int], Awaitable[int | None]]
"""Topic and partition → the offset to go on with, from the caller's own store; None where it has none."""


class Lane:
    """The events of one partition, for as long as it stays with this member."""

    def __init__(
        self,
        handler: Handler,
        start: int,
        *,
        tenant: str | None,
        types: tuple[type[TenantEvent], ...],
        committed: int | None,
        before: Lane | None,
    ) -> None:
        """``before``: the lane of this partition when it was here last, whose ids are not handled again."""
        self._handler = handler
        self._tenant = tenant
        self._types = types
        self._seen: OrderedDict[str, None] = OrderedDict() if before is None else before._seen
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self.next_offset = start
        """The first offset that is not handled yet."""
        self.committed = committed
        self.failure: HandlerFailed | None = None

    @property
    def uncommitted(self) -> bool:
        """Whether the group does not know yet how far this is."""
        return self.next_offset != self.committed

    def begin(self, records: list[Record], *, then: Callable[[], None]) -> None:
        """Handle ``records``, then call ``then``. They follow what was given before, which has ended."""
        self._task = asyncio.create_task(self._handle(records, then))

    def close(self) -> None:
        """Begin no other event."""
        self._closed = True

    def abandon(self) -> None:
        """Break off what is being handled: it is as if it had not been given."""
        if self._task is not None:
            self._task.cancel()

    async def idle(self) -> None:
        """Wait until nothing is being handled."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _handle(self, records: list[Record], then: Callable[[], None]) -> None:
        for record in records:
            if self._closed:
                return
            received = self._read(record)
            if received is not None and not await self._handled(received):
                return
            self.next_offset = record.offset + 1
        then()

    def _read(self, record: Record) -> Received | None:
        event = read_event(record)
        if event is None or not isinstance(event, self._types) or self._tenant not in {None, event.tenant}:
            return None
        headers = {name: (value or b"").decode("utf-8", "replace") for name, value in record.headers}
        return Received(
            event=event,
            id=headers["ce_id"],
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            at=datetime.fromtimestamp(record.timestamp_ms / 1000, UTC),
            traceparent=headers.get("traceparent"),
        )

    async def _handled(self, received: Received) -> bool:
        if received.id in self._seen:
            return True
        for number in range(_TRIES):
            try:
                await self._handler(received)
            except Exception as error:
                if self._closed:
                    return False
                if number == _TRIES - 1:
                    self.failure = HandlerFailed(
                        f"the handler could not handle {received.event.TYPE} at {received.topic}"
                        f"[{received.partition}] offset {received.offset}: {type(error).__name__}",
                        request_id=received.event.request_id,
                    )
                    self.failure.__cause__ = error
                    return False
                log.warning("the handler failed for %s, it is called again", received.event.request_id, exc_info=True)
                await asyncio.sleep(_BACKOFF_S * 2**number)
            else:
                self._seen[received.id] = None
                if len(self._seen) > _REMEMBERED:
                    self._seen.popitem(last=False)
                return True
        return False
