"""Publishing many requests: several at a time, no more than Kafka and the tenant's queue keep up with."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from producer_api.sdk.handles import Handle
from schemas.requests import GenerationRequest

__all__ = ["Submission", "submit_all"]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Submission:
    """A request to publish, and the names under which it can be published again; see ``Client.submit``."""

    request: GenerationRequest
    request_id: str | None = None
    idempotency_key: str | None = None


async def submit_all(
    submit: Callable[[Submission], Awaitable[Handle]],
    requests: Iterable[Submission] | AsyncIterable[Submission],
    *,
    unacknowledged: int,
    unfinished: int | None,
) -> AsyncIterator[Handle]:
    """The handles of ``requests``, in their order, each once it is published; see ``Client.submit_many``."""
    publishing: deque[asyncio.Task[Handle]] = deque()
    places = None if unfinished is None else asyncio.Semaphore(unfinished)
    watching: set[asyncio.Task[None]] = set()

    async def one(submission: Submission) -> Handle:
        try:
            handle = await submit(submission)
        except BaseException:
            if places is not None:
                places.release()
            raise
        if places is not None:
            watcher = asyncio.create_task(_release_after(handle, places))
            watching.add(watcher)
            watcher.add_done_callback(watching.discard)
        return handle

    try:
        async for submission in _each(requests):
            if places is not None:
                while places.locked() and publishing:
                    yield await publishing.popleft()
                await places.acquire()
            publishing.append(asyncio.create_task(one(submission)))
            while publishing and (len(publishing) >= unacknowledged or publishing[0].done()):
                yield await publishing.popleft()
        while publishing:
            yield await publishing.popleft()
    finally:
        for task in (*publishing, *watching):
            task.cancel()
        await asyncio.gather(*publishing, *watching, return_exceptions=True)


async def _release_after(handle: Handle, places: asyncio.Semaphore) -> None:
    await handle.ended()
    places.release()


async def _each(given: Iterable[_T] | AsyncIterable[_T]) -> AsyncIterator[_T]:
    if isinstance(given, AsyncIterable):
        async for one in given:
            yield one
    else:
        for one in given:
            yield one
