"""Heartbeats, and the one clock that follows from them: the broker's.

The ack of a heartbeat carries the time at which the broker appended it. That, carried on by the monotonic clock, is
"now" on every instance alike, however its own clock is set.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from schemas.connection import KafkaSettings
from schemas.envelope import JSON
from schemas.fleet import Heartbeat
from schemas.topics import Topics
from transport.errors import TransportError
from transport.kafka import Publisher
from transport.logs import logger
from transport.records import Ack, Outgoing

__all__ = ["BrokerClock", "Heart"]

_BEAT_S = 1.0
_BEAT_LIMIT_S = 4.0
_SILENT_S = 10.0

_log = logger("fleet")


class BrokerClock:
    """The broker's time in ms, between two acks carried on by the monotonic clock. Never runs backwards."""

    def __init__(self) -> None:
        self._offset_ms: float | None = None
        self._latest_ms = 0
        self._heard_at = time.monotonic()

    def heard(self, broker_ms: int) -> None:
        """An ack has just told the broker's time."""
        self._heard_at = time.monotonic()
        self._offset_ms = broker_ms - self._heard_at * 1000

    @property
    def silence(self) -> str | None:
        """Says so when the broker has not been heard for a while: then nothing gets on, whatever else looks well."""
        silent_s = time.monotonic() - self._heard_at
        return f"Kafka has not answered for {silent_s:.0f} s" if silent_s > _SILENT_S else None

    def now_ms(self) -> int | None:
        """Now by the broker; None until it was heard for the first time."""
        if self._offset_ms is None:
            return None
        self._latest_ms = max(self._latest_ms, int(self._offset_ms + time.monotonic() * 1000))
        return self._latest_ms


class Heart:
    """Publishes what ``report`` says of this instance once a second, and sets the clock by the acks."""

    def __init__(
        self, settings: KafkaSettings, publisher: Publisher, clock: BrokerClock, report: Callable[[], Heartbeat]
    ) -> None:
        self._topic = Topics(settings.prefix).fleet
        self._publisher = publisher
        self._clock = clock
        self._report = report
        self._asked = asyncio.Event()

    def beat(self) -> None:
        """Publish now: the others should not wait a second for what has just changed."""
        self._asked.set()

    async def run(self) -> None:
        """Beat until cancelled; then tell the others that this instance has left."""
        instance = self._report().instance
        try:
            while True:
                self._asked.clear()
                with contextlib.suppress(TransportError):
                    ack = await self._tell(instance, self._report().model_dump_json().encode())
                    self._clock.heard(ack.timestamp_ms)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_BEAT_S):
                        await self._asked.wait()
        finally:
            with contextlib.suppress(TransportError):
                await self._tell(instance, None)
            _log.info("left the fleet", instance=instance)

    async def _tell(self, instance: str, value: bytes | None) -> Ack:
        headers = (("content-type", JSON.encode()), ("easel_type", Heartbeat.TYPE.encode()))
        out = Outgoing(self._topic, value, instance.encode(), headers, partition=0)
        return await self._publisher.publish(out, timeout_s=_BEAT_LIMIT_S)
