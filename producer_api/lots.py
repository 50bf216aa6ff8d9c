"""Records that are handed over while others are on their way leave together, behind them.

A request to the broker costs both of them as much for one record as for fifty. Who comes alone is sent at once.
"""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

from producer_api.background import end
from transport.errors import Doubt, Misconfigured, TransportError, Unavailable
from transport.kafka import Publisher
from transport.records import Ack, Outgoing

__all__ = ["Lots"]

_Told = asyncio.Future[Ack | TransportError]


class _Handed(NamedTuple):
    """A record, until when it may be sent (``time.monotonic``), and who is told what became of it."""

    out: Outgoing
    until: float
    told: _Told


class Lots:
    """Sends for one event loop, one lot at a time."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._waiting: list[_Handed] = []
        self._sending: asyncio.Task[None] | None = None

    async def publish(self, out: Outgoing, timeout_s: float) -> Ack:
        """Write a record, acknowledged by all replicas, within ``timeout_s``.

        Raises ``Doubt`` when that did not happen, or this ends meanwhile: it may be written nonetheless. Raises
        ``Unavailable`` at once when those before it failed: it was not sent. Raises ``Misconfigured`` for what can
        never be written.
        """
        told: _Told = asyncio.get_running_loop().create_future()
        self._waiting.append(_Handed(out, time.monotonic() + timeout_s, told))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send())
        found = await told
        if isinstance(found, TransportError):
            raise found
        return found

    async def stop(self) -> None:
        """Send nothing more; whoever waits is told."""
        await end(self._sending)

    async def _send(self) -> None:
        lot: list[_Handed] = []
        try:
            while self._waiting:
                lot, self._waiting = self._waiting, []
                found = await self._written(lot)
                for handed, one in zip(lot, found, strict=True):
                    _tell(handed, one)
                failure = next((one for one in found if isinstance(one, Doubt)), None)
                if failure is not None:
                    self._give_up(f"not sent, as those before it failed: {failure.what}", failure.where)
        except Exception as error:
            for handed in lot:
                _tell(handed, Doubt(f"publishing failed: {type(error).__name__}"))
            raise
        finally:
            for handed in lot:
                _tell(handed, Doubt("the publisher ended while the record was on its way"))
            self._give_up("the publisher ended", "")
            self._sending = None

    def _give_up(self, what: str, where: str) -> None:
        waiting, self._waiting = self._waiting, []
        for handed in waiting:
            _tell(handed, Unavailable(what, where=where))

    async def _written(self, lot: list[_Handed]) -> list[Ack | TransportError]:
        left_s = lot[0].until - time.monotonic()
        found = await self._publisher.publish_all([handed.out for handed in lot], timeout_s=max(left_s, 0.0))
        if any(isinstance(one, TransportError) for one in found):
            found = [*await asyncio.gather(*map(self._again, lot, found))]
        return found

    async def _again(self, handed: _Handed, found: Ack | TransportError) -> Ack | TransportError:
        """What became of a record by itself, where there is time left: its lot may have met a session that was over."""
        left_s = handed.until - time.monotonic()
        if not isinstance(found, TransportError) or isinstance(found, Misconfigured):
            return found
        if left_s <= 0:
            return _doubt(found)
        try:
            return await self._publisher.publish(handed.out, timeout_s=left_s)
        except TransportError as error:
            return error if isinstance(error, Misconfigured) else _doubt(error)


def _doubt(error: TransportError) -> Doubt:
    return Doubt(error.what, error.remedy, where=error.where)


def _tell(handed: _Handed, found: Ack | TransportError) -> None:
    if not handed.told.done():
        handed.told.set_result(found)
