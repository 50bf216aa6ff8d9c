"""Follows what becomes of every request, remembers it for a day, and wakes those who wait for a decision."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, AsyncExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

from producer_api.background import end
from producer_api.metrics import Metrics
from producer_api.pulse import Pulse
from producer_api.task_file import Row, TaskFile, TaskFileError, Timed
from producer_api.task_list import Wanted
from producer_api.waiting import Waiting
from producer_api.watching import Watch, Watchers
from producer_api.wire import Answer, Decision, RequestEvent, read_event
from schemas.connection import KafkaSettings
from schemas.topics import Topics
from transport.errors import OffsetsUnknown, TransportError
from transport.records import Record
from transport.tail import Tail
from transport.topics import cluster_id

__all__ = ["Tracker"]

log = logging.getLogger(__name__)

KEPT = timedelta(hours=24)
_PURGE_S = 600.0
_RETRY_S = 1.0
_MOST_UNDECIDED = 10_000
_MOST_WRITING = 16
"""Batches that wait for the file: while it catches up, no more are read than it takes."""

_T = TypeVar("_T")
_Key = tuple[str, str]


class _Writing:
    """Batches that wait for the file, a bounded number of them. The first that fails ends what runs in here."""

    def __init__(self) -> None:
        self._group = asyncio.TaskGroup()
        self._places = asyncio.Semaphore(_MOST_WRITING)

    async def add(self, applied: asyncio.Future[None]) -> None:
        """Watch one that is on its way; waits while there are too many of them."""
        self._group.create_task(self._watch(applied))
        await self._places.acquire()

    async def _watch(self, applied: asyncio.Future[None]) -> None:
        try:
            # Never taken out of the thread's queue: the positions of one behind it would pass over what it holds.
            await asyncio.shield(applied)
        finally:
            self._places.release()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        try:
            await self._group.__aexit__(*error)
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None


class Tracker:
    """One reader of results and progress, one thread that owns the file. It comes back by itself when Kafka does."""

    def __init__(self, kafka: KafkaSettings, path: Path, metrics: Metrics, pulse: Pulse) -> None:
        self._kafka = kafka
        self._path = path
        self._metrics = metrics
        self._pulse = pulse
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="easel-tasks")
        self._file: TaskFile | None = None
        self._task: asyncio.Task[None] | None = None
        self._waiting = Waiting()
        self._watchers = Watchers()
        self._undecided: dict[_Key, None] = {}
        self.problem: str | None = "the results have not been read yet"
        """Why answers about tasks may be behind; None when they are not."""

    def start(self) -> None:
        """Begin to follow, in the background."""
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Stop, and close the file."""
        await end(self._task)
        await self._in_thread(self._close)
        self._thread.shutdown()

    def expect(self, tenant: str, id_: str) -> AbstractContextManager[asyncio.Future[Answer]]:
        """A future for the next answer to a tenant's event with this id. Enter before publishing it."""
        return self._waiting.expect(tenant, id_)

    def watch(self, tenant: str, id_: str) -> AbstractContextManager[Watch]:
        """See what happens to a tenant's request from now on. Enter before looking where it stands."""
        return self._watchers.watch(tenant, id_)

    def submitted(self, tenant: str, id_: str) -> None:
        """A request was published and its decision has not come: until then, this process alone knows of it."""
        self._undecided[(tenant, id_)] = None
        if len(self._undecided) > _MOST_UNDECIDED:
            del self._undecided[next(iter(self._undecided))]

    def is_undecided(self, tenant: str, id_: str) -> bool:
        """Whether this process published the request and has seen no decision about it."""
        return (tenant, id_) in self._undecided

    async def row(self, tenant: str, id_: str) -> Row | None:
        """What is known about a tenant's request; None when that is nothing, or it is more than a day old."""
        found = await self._asked(lambda file: file.row(tenant, id_), None)
        return None if found is None or found.updated_ms < _kept_since_ms() else found

    async def page(self, wanted: Wanted) -> list[tuple[str, Row]]:
        """The requests that are wanted, with their ids; those that are more than a day old are not known."""
        return await self._asked(lambda file: file.page(wanted, _kept_since_ms()), [])

    async def counts(self, wanted: Wanted) -> dict[str, int]:
        """How many of them there are in each state, on all pages together."""
        return await self._asked(lambda file: file.counts(wanted, _kept_since_ms()), {})

    async def _asked(self, question: Callable[[TaskFile], _T], nothing: _T) -> _T:
        """What the file says; ``nothing`` while there is none, and ``problem`` says so."""
        file = self._file
        try:
            return nothing if file is None else await self._in_thread(lambda: question(file))
        except TaskFileError:
            # It was closed in the meantime, to be opened again.
            return nothing

    async def _follow(self) -> None:
        anew = False
        while True:
            try:
                await self._follow_once(anew=anew)
            except OffsetsUnknown as error:
                log.warning("the topics were made anew, so is %s: %s", self._path, error)
                self.problem = "the topics were made anew and are being read"
                anew = True
                continue
            except (TransportError, TaskFileError) as error:
                log.warning("following the results was interrupted: %s", error)
                self.problem = f"the results can't be followed: {error}"
            except Exception as error:
                log.exception("following the results failed")
                self.problem = f"the results can't be followed: {type(error).__name__}"
            anew = False
            self._metrics.caught_up.set(0)
            await asyncio.sleep(_RETRY_S)

    async def _follow_once(self, *, anew: bool) -> None:
        topics = Topics(self._kafka.prefix)
        # Offsets mean something on the cluster that gave them alone.
        identity = f"{await cluster_id(self._kafka)}/{self._kafka.prefix}"
        await self._in_thread(self._close)
        file = await self._in_thread(lambda: self._open(identity, anew=anew))
        positions = await self._in_thread(file.positions)
        async with AsyncExitStack() as resources:
            followed = [topics.results, topics.progress]
            tail = await resources.enter_async_context(Tail(self._kafka, followed, start=positions or KEPT))
            watch = asyncio.create_task(self._say_when_caught_up(tail))
            resources.callback(watch.cancel)
            writing = await resources.enter_async_context(_Writing())
            purged_at = time.monotonic()
            async for batch in tail:
                await self._take_in(file, batch, tail, writing)
                if time.monotonic() - purged_at > _PURGE_S:
                    purged_at = time.monotonic()
                    await self._in_thread(lambda: file.purge(_kept_since_ms()))

    async def _say_when_caught_up(self, tail: Tail) -> None:
        await tail.caught_up.wait()
        self.problem = None
        self._metrics.caught_up.set(1)

    async def _take_in(self, file: TaskFile, batch: list[Record], tail: Tail, writing: _Writing) -> None:
        read = [(record, read_event(record)) for record in batch]
        events = [Timed(event, record.timestamp_ms) for record, event in read if event is not None]
        for event, _ in events:
            if isinstance(event, Answer):
                self._pulse.answered()
                self._waiting.tell(event)
            if isinstance(event, RequestEvent):
                self._watchers.tell(event)
        self._metrics.events.inc(len(events))
        positions = tail.positions()
        # Whoever was told goes on only after this has its place in the thread's queue, and so finds it in the file.
        # The next batch is not kept waiting for that: somebody may want its answers.
        applied = asyncio.get_running_loop().run_in_executor(self._thread, lambda: file.apply(events, positions))
        applied.add_done_callback(partial(self._settle, events))
        await writing.add(applied)

    def _settle(self, events: list[Timed], applied: asyncio.Future[None]) -> None:
        if applied.cancelled() or applied.exception() is not None:
            return
        for event, _ in events:
            if isinstance(event, Decision):
                # Not before: who asked in the meantime still finds the one or the other.
                self._undecided.pop((event.tenant, event.request_id), None)

    def _open(self, identity: str, *, anew: bool) -> TaskFile:
        self._file = TaskFile(self._path, identity, not_before_ms=_kept_since_ms(), anew=anew)
        return self._file

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _kept_since_ms() -> int:
    return int((time.time() - KEPT.total_seconds()) * 1000)
