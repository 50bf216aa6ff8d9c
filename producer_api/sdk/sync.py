"""The same client for code without an event loop: each call waits, in the thread that makes it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import CancelledError
from datetime import datetime
from itertools import islice
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from producer_api.sdk.accounting import UsageEntry
from producer_api.sdk.client import Client
from producer_api.sdk.handles import Handle
from producer_api.sdk.lanes import Received
from producer_api.sdk.many import Submission
from producer_api.sdk.options import RequestOptions
from producer_api.sdk.subscription import RESULTS
from producer_api.wire import RequestEvent, TenantEvent
from schemas.events import Accepted, CancelAccepted, Deleted, Duplicate, Priced, Succeeded
from schemas.outputs import Output

__all__ = ["SyncClient", "SyncHandle"]

_T = TypeVar("_T")


class _Loop:
    """An event loop in a thread of its own, in which the client lives."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="easel", daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Its result. Interrupted while it waits, the work is broken off."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except (KeyboardInterrupt, SystemExit, CancelledError):
            future.cancel()
            raise

    def each(self, items: Callable[[], AsyncIterator[_T]]) -> Iterator[_T]:
        """The items, one at a time, as they are asked for."""
        iterator = self.call(_made(items))
        try:
            while True:
                found, item = self.call(_next(iterator))
                if not found:
                    return
                yield item[0]
        finally:
            self.call(_closed(iterator))

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class SyncHandle:
    """``Handle``, for code that waits: see there for what each method raises."""

    def __init__(self, loop: _Loop, handle: Handle) -> None:
        self._loop = loop
        self._handle = handle

    @property
    def request_id(self) -> str:
        return self._handle.request_id

    @property
    def done(self) -> bool:
        return self._handle.done

    def events(self) -> Iterator[RequestEvent]:
        return self._loop.each(self._handle.events)

    def decision(self, *, timeout_s: float | None = None) -> Accepted | Duplicate:
        return self._loop.call(self._handle.decision(timeout_s=timeout_s))

    def result(self, *, timeout_s: float | None = None) -> Succeeded:
        return self._loop.call(self._handle.result(timeout_s=timeout_s))

    def cancel(self, *, timeout_s: float = 30.0) -> CancelAccepted:
        return self._loop.call(self._handle.cancel(timeout_s=timeout_s))


class SyncClient:
    """``Client``, for code that waits: see there for what each method means and raises. Any thread may use it.

    With a web server or a task queue that forks, make it after the fork: one for each process.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._started: _Loop | None = None

    @classmethod
    def from_env(cls) -> SyncClient:
        """A client as the environment describes it: see ``Client.from_env``."""
        return cls(Client.from_env())

    def __enter__(self) -> Self:
        self._started = loop = _Loop()
        try:
            loop.call(self._client.__aenter__())
        except BaseException:
            loop.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        loop, self._started = self._loop, None
        try:
            loop.call(self._client.__aexit__(kind, error, trace))
        finally:
            loop.close()

    def submit(
        self,
        prompt: str,
        *,
        model: str,
        request_id: str | None = None,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
        timeout_s: float = 30.0,
        **options: Unpack[RequestOptions],
    ) -> SyncHandle:
        handle = self._loop.call(
            self._client.submit(
                prompt,
                model=model,
                request_id=request_id,
                idempotency_key=idempotency_key,
                traceparent=traceparent,
                timeout_s=timeout_s,
                **options,
            )
        )
        return SyncHandle(self._loop, handle)

    def submit_many(
        self,
        requests: Iterable[Submission],
        *,
        unacknowledged: int = 100,
        unfinished: int | None = None,
        timeout_s: float = 30.0,
    ) -> Iterator[SyncHandle]:
        def submitted() -> AsyncIterator[Handle]:
            return self._client.submit_many(
                _in_threads(requests), unacknowledged=unacknowledged, unfinished=unfinished, timeout_s=timeout_s
            )

        for handle in self._loop.each(submitted):
            yield SyncHandle(self._loop, handle)

    def follow(self, request_id: str) -> SyncHandle:
        return SyncHandle(self._loop, self._loop.call(_called(lambda: self._client.follow(request_id))))

    def result(self, request_id: str, *, timeout_s: float | None = None) -> Succeeded:
        return self._loop.call(self._client.result(request_id, timeout_s=timeout_s))

    def events(self, request_id: str) -> Iterator[RequestEvent]:
        return self.follow(request_id).events()

    def price(self, prompt: str, *, model: str, timeout_s: float = 30.0, **options: Unpack[RequestOptions]) -> Priced:
        return self._loop.call(self._client.price(prompt, model=model, timeout_s=timeout_s, **options))

    def cancel(self, request_id: str, *, timeout_s: float = 30.0) -> CancelAccepted:
        return self._loop.call(self._client.cancel(request_id, timeout_s=timeout_s))

    def delete(self, request_id: str, *, timeout_s: float = 60.0) -> Deleted:
        return self._loop.call(self._client.delete(request_id, timeout_s=timeout_s))

    def usage(self, *, since: datetime | None = None, timeout_s: float = 60.0) -> Iterator[UsageEntry]:
        return self._loop.each(lambda: self._client.usage(since=since, timeout_s=timeout_s))

    def download(self, output: Output, *, url: str | None = None, timeout_s: float = 60.0) -> bytes:
        return self._loop.call(self._client.download(output, url=url, timeout_s=timeout_s))

    def subscribe(
        self,
        handler: Callable[[Received], None],
        *,
        group: str,
        types: tuple[type[TenantEvent], ...] = RESULTS,
        until: threading.Event,
    ) -> None:
        """Call ``handler``, in threads, with every result of this tenant until ``until`` is set. At least once."""

        async def handle(received: Received) -> None:
            await asyncio.to_thread(handler, received)

        async def run() -> None:
            subscription = self._client.subscribe(handle, group=group, types=types)
            waiting = asyncio.create_task(asyncio.to_thread(until.wait))
            waiting.add_done_callback(lambda _: subscription.stop())
            try:
                await subscription.run()
            finally:
                until.set()
                await waiting

        self._loop.call(run())

    @property
    def _loop(self) -> _Loop:
        if self._started is None:
            raise RuntimeError("the client is not open: use it in a with statement")
        return self._started


async def _called(function: Callable[[], _T]) -> _T:
    return function()


async def _made(items: Callable[[], AsyncIterator[_T]]) -> AsyncIterator[_T]:
    return aiter(items())


async def _next(iterator: AsyncIterator[_T]) -> tuple[bool, list[_T]]:
    # Not the exception that ends an iteration: it can't leave a coroutine.
    try:
        return True, [await anext(iterator)]
    except StopAsyncIteration:
        return False, []


async def _closed(iterator: AsyncIterator[Any]) -> None:
    close = getattr(iterator, "aclose", None)
    if close is not None:
        await close()


async def _in_threads(items: Iterable[_T]) -> AsyncIterator[_T]:
    """The items, made in threads: what makes them may wait."""
    iterator = iter(items)
    while found := await asyncio.to_thread(lambda: list(islice(iterator, 1))):
        yield found[0]
