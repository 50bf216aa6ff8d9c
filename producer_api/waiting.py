"""Who waits for an answer to what was just published."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from producer_api.wire import Answer, answered

__all__ = ["Waiting", "within"]

_Key = tuple[str, str]


class Waiting:
    """Futures by tenant and by the id of the event that is to be answered; ids are unique per tenant only."""

    def __init__(self) -> None:
        self._futures: dict[_Key, list[asyncio.Future[Answer]]] = {}

    @contextmanager
    def expect(self, tenant: str, event_id: str) -> Iterator[asyncio.Future[Answer]]:
        """A future for the next answer to an event. Enter before publishing it."""
        key = (tenant, event_id)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._futures.setdefault(key, []).append(future)
        try:
            yield future
        finally:
            waiting = self._futures[key]
            waiting.remove(future)
            if not waiting:
                del self._futures[key]
            if not future.cancel() and not future.cancelled():
                # Told of a failure that nobody stayed to hear.
                future.exception()

    def tell(self, answer: Answer) -> None:
        """Give an answer to those who wait for it."""
        for future in self._futures.get((answer.tenant, answered(answer)), []):
            if not future.done():
                future.set_result(answer)

    def fail(self, failure: Exception) -> None:
        """No answer can come any more."""
        for futures in self._futures.values():
            for future in futures:
                if not future.done():
                    future.set_exception(failure)


async def within(seconds: float, answer: asyncio.Future[Answer]) -> Answer | None:
    """The answer that is expected; None, and it is expected no longer, when it does not come within ``seconds``."""
    # A third of what ``asyncio.wait`` takes, which is for several.
    timer = asyncio.get_running_loop().call_later(seconds, _give_up, answer)
    try:
        return await answer
    except TimeoutError:
        return None
    finally:
        timer.cancel()


def _give_up(answer: asyncio.Future[Answer]) -> None:
    if not answer.done():
        answer.set_exception(TimeoutError())
