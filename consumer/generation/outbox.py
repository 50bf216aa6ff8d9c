"""Outcomes on their way to admission, repeated until they are acknowledged: what was made with a GPU is not lost to a
broker's restart."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Sequence

from transport.errors import TooLarge, TransportError
from transport.kafka import Publisher
from transport.logs import logger
from transport.records import Outgoing

__all__ = ["Outbox"]

_BACKOFF_S = 0.1
_MAX_BACKOFF_S = 5.0

_log = logger("generation")

_Waiting = tuple[Outgoing, "asyncio.Future[None]"]


class Outbox:
    """One lot of records at a time is on its way to a partition; what comes meanwhile is the next lot.

    So nothing waits for company, and under load a lot is large. A partition that can't be written holds up no other.
    """

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._waiting: dict[tuple[str, int | None], list[_Waiting]] = defaultdict(list)
        self._tasks: dict[tuple[str, int | None], asyncio.Task[None]] = {}

    async def deliver(self, outs: Sequence[Outgoing]) -> None:
        """Returns when all of these are acknowledged, each in the order in which its partition got them.

        Raises ``TooLarge`` for one that can't be written however often it is tried: only a smaller one can.
        """
        loop = asyncio.get_running_loop()
        acked = []
        for out in outs:
            place = out.topic, out.partition
            future: asyncio.Future[None] = loop.create_future()
            acked.append(future)
            self._waiting[place].append((out, future))
            if place not in self._tasks:
                self._tasks[place] = loop.create_task(self._empty(place))
        try:
            for future in acked:
                await future
        finally:
            # What nobody waits for any more is not repeated.
            for future in acked:
                future.cancel()

    async def close(self) -> None:
        """Stop repeating. Whoever waits here waits for ever, so nobody may any more."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _empty(self, place: tuple[str, int | None]) -> None:
        delay = _BACKOFF_S
        try:
            while lot := self._waiting.pop(place, None):
                lot = [(out, future) for out, future in lot if not future.done()]
                try:
                    failed = await self._publish(lot)
                except Exception as error:
                    # A bug. Whoever waits here would wait for ever.
                    _break(lot, error)
                    continue
                if not failed:
                    delay = _BACKOFF_S
                    continue
                self._waiting[place] = failed + self._waiting[place]
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311
                delay = min(delay * 2, _MAX_BACKOFF_S)
        finally:
            del self._tasks[place]

    async def _publish(self, lot: Sequence[_Waiting]) -> list[_Waiting]:
        """Once; those that were not acknowledged, and may be another time."""
        found = await self._publisher.publish_all([out for out, _ in lot])
        failed, reasons = [], []
        for (out, future), ack in zip(lot, found, strict=True):
            if isinstance(ack, TransportError) and not isinstance(ack, TooLarge):
                failed.append((out, future))
                reasons.append(str(ack))
            elif not future.done():
                if isinstance(ack, TooLarge):
                    future.set_exception(ack)
                else:
                    future.set_result(None)
        if failed:
            _log.warning("publishing will be repeated", topic=lot[0][0].topic, records=len(failed), reason=reasons[0])
        return failed


def _break(lot: Sequence[_Waiting], error: Exception) -> None:
    for _, future in lot:
        if not future.done():
            future.set_exception(error)
