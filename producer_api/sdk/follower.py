"""Follows the results and progress of one tenant, and hands each event to the handles that wait for it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager
from datetime import UTC, datetime
from typing import Any

from producer_api.background import end
from producer_api.sdk.exceptions import ClientError, ResultGone, Unreachable
from producer_api.sdk.handles import Canceler, Handle
from producer_api.sdk.history import history, on_partition_of
from producer_api.waiting import Waiting
from producer_api.wire import Answer, RequestEvent, TenantEvent, read_event, subject_of
from schemas.connection import KafkaSettings
from schemas.events import TERMINAL, Duplicate
from schemas.ids import DAY_MS, time_of
from schemas.topics import Topics
from transport.errors import TransportError
from transport.records import Record, TopicPartition
from transport.tail import Tail

__all__ = ["Follower"]

log = logging.getLogger(__name__)

_RECALL_S = 60.0
_UNDECIDED_MS = 10 * 60_000
"""For so long a request of which nothing is known may still be on its way to admission."""
_GONE = "the request has ended, and its result is no longer kept"
_UNKNOWN = "nothing is known of this request: its tenant never published it, or its result is no longer kept"
_ENDED = frozenset(event_type.split(".")[2] for event_type in TERMINAL)
"""The states that a duplicate names when its request has ended: ``succeeded``, ``failed``, ``canceled``."""


class Follower:
    """One reader for all handles of a client. It starts at the ends of the topics, so start it before publishing."""

    def __init__(self, kafka: KafkaSettings, tenant: str, *, own_topic: bool = False) -> None:
        """``own_topic``: read the tenant's own results alone; progress is then not seen, for it is all tenants'."""
        self._kafka = kafka
        self._topics = Topics(kafka.prefix)
        self._own_topic = own_topic
        self._results = self._topics.results_of(tenant) if own_topic else self._topics.results
        self._tenant = tenant
        self._handles: dict[str, list[Handle]] = {}
        self._waiting = Waiting()
        self._asked_about: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._resources = AsyncExitStack()
        self._failure: ClientError | None = None

    async def start(self) -> None:
        """Fix the positions to read from. Raises ``TransportError``."""
        topics = [self._results] if self._own_topic else [self._results, self._topics.progress]
        tail = await self._resources.enter_async_context(Tail(self._kafka, topics, start="latest", only=self._mine))
        self._spawn(self._follow(tail))

    async def stop(self) -> None:
        """End every handle that is still open."""
        await end(*self._tasks)
        await self._resources.aclose()
        self._fail(Unreachable("the client was closed: open another one and submit again with the same id"))

    def register(self, request_id: str, cancel: Canceler) -> Handle:
        """A handle for what will happen to a request. Raises ``Unreachable`` when nothing can be followed any more."""
        if self._failure is not None:
            raise self._failure
        handle = Handle(self._tenant, request_id, cancel)
        self._handles.setdefault(request_id, []).append(handle)
        return handle

    def follow(self, request_id: str, cancel: Canceler) -> Handle:
        """A handle for a request that was published before, whoever did it: what has been said of it is read back."""
        handle = self.register(request_id, cancel)
        self._spawn(self._recall(handle, ended=False))
        return handle

    def forget(self, handle: Handle) -> None:
        """Stop following for this handle; a second call does nothing."""
        self._remove(handle.request_id, handle)

    @contextmanager
    def expect(self, event_id: str, about: str) -> Iterator[asyncio.Future[Answer]]:
        """A future for the answer to an event about the request ``about``. Enter before publishing it.

        Raises ``Unreachable`` when nothing can be followed any more; so does the future.
        """
        if self._failure is not None:
            raise self._failure
        subjects = Counter({event_id, about})
        self._asked_about += subjects
        try:
            with self._waiting.expect(self._tenant, event_id) as expected:
                yield expected
        finally:
            self._asked_about -= subjects

    async def _follow(self, tail: Tail) -> None:
        try:
            async for batch in tail:
                for record in batch:
                    self._deliver(record)
        except TransportError as error:
            log.error("stopped following the results of %s: %s", self._tenant, error)
            self._fail(Unreachable(f"following the results stopped: {error}"))
        except Exception:
            log.exception("stopped following the results of %s", self._tenant)
            self._fail(Unreachable("following the results failed; the log says why"))

    def _deliver(self, record: Record) -> None:
        event = self._of_interest(record)
        if isinstance(event, Answer):
            self._waiting.tell(event)
        if isinstance(event, RequestEvent):
            self._advance(event)

    def _advance(self, event: RequestEvent) -> None:
        for handle in list(self._handles.get(event.request_id, ())):
            handle.receive(event)
            if handle.request_id != event.request_id:
                # Its idempotency key is another request's, which it stands for from now on.
                self._remove(event.request_id, handle)
                self._handles.setdefault(handle.request_id, []).append(handle)
            if handle.done:
                self.forget(handle)
            elif isinstance(event, Duplicate) and event.state in _ENDED:
                # It ended before we began to read: its terminal event lies further back.
                self._spawn(self._recall(handle, ended=True))

    def _mine(self, tp: TopicPartition, count: int) -> bool:
        """Progress is spread over all partitions, by request."""
        return tp.topic != self._results or on_partition_of(self._tenant)(tp, count)

    def _of_interest(self, record: Record) -> TenantEvent | None:
        subject = subject_of(record)
        if subject not in self._handles and subject not in self._asked_about:
            return None
        event = read_event(record)
        # Ids are unique per tenant only.
        return event if event is not None and event.tenant == self._tenant else None

    def _remove(self, request_id: str, handle: Handle) -> None:
        waiting = self._handles.get(request_id, [])
        if handle in waiting:
            waiting.remove(handle)
        if not waiting:
            self._handles.pop(request_id, None)

    async def _recall(self, handle: Handle, *, ended: bool) -> None:
        """Look back for what was said about a request; ``ended``: its end is among it, or no longer kept."""
        try:
            async with asyncio.timeout(_RECALL_S):
                # An id is within a day of the time at which the broker took its request.
                since = datetime.fromtimestamp((time_of(handle.request_id) - DAY_MS) / 1000, UTC)
                async with aclosing(history(self._kafka, self._results, self._tenant, since=since)) as batches:
                    async for batch in batches:
                        self._remind(handle, batch)
            if ended:
                handle.fail(ResultGone(_GONE, request_id=handle.request_id))
            elif not handle.decided and time.time() * 1000 - time_of(handle.request_id) > _UNDECIDED_MS:
                handle.fail(ResultGone(_UNKNOWN, request_id=handle.request_id))
        except (TransportError, TimeoutError) as error:
            handle.fail(Unreachable(f"looking for its result failed: {error}", request_id=handle.request_id))
        if handle.done:
            self.forget(handle)

    def _remind(self, handle: Handle, batch: list[Record]) -> None:
        for record in batch:
            event = read_event(record) if subject_of(record) == handle.request_id else None
            if isinstance(event, RequestEvent) and event.tenant == self._tenant:
                handle.receive(event)

    def _fail(self, failure: ClientError) -> None:
        self._failure = failure
        for handles in self._handles.values():
            for handle in handles:
                handle.fail(failure)
        self._handles.clear()
        self._waiting.fail(failure)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
