"""What the instances of both stages tell of themselves, as it was last heard."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable

from pydantic import ValidationError

from producer_api.background import end
from schemas.connection import KafkaSettings
from schemas.fleet import HEARD_WITHIN_MS, Heartbeat
from schemas.topics import Topics
from transport.errors import TransportError
from transport.records import Record
from transport.tail import Tail

__all__ = ["Fleet"]

log = logging.getLogger(__name__)

_RETRY_S = 1.0


class Fleet:
    """Follows the fleet topic for as long as the API runs, also while the broker is away."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._heard: dict[str, tuple[Heartbeat, int]] = {}
        self._ahead_ms = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Follow, in the background."""
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Follow no longer."""
        await end(self._task)

    def living(self) -> list[Heartbeat]:
        """Those that have been heard within 8 s, by the broker's clock."""
        now_ms = time.time() * 1000 + self._ahead_ms
        return [beat for _, (beat, at_ms) in sorted(self._heard.items()) if now_ms - at_ms <= HEARD_WITHIN_MS]

    def take(self, records: Iterable[Record]) -> None:
        """Heartbeats; a null value says that an instance has left."""
        for record in records:
            name = (record.key or b"").decode(errors="replace")
            self._ahead_ms = max(self._ahead_ms, record.timestamp_ms - time.time() * 1000)
            if record.value is None:
                self._heard.pop(name, None)
                continue
            try:
                self._heard[name] = (Heartbeat.model_validate_json(record.value), record.timestamp_ms)
            except ValidationError:
                log.warning("passed over a heartbeat of %s that can't be read", name)

    async def _follow(self) -> None:
        while True:
            try:
                async with Tail(self._kafka, [Topics(self._kafka.prefix).fleet], read_committed=False) as tail:
                    async for records in tail:
                        self.take(records)
            except TransportError as error:
                log.info("following the fleet was interrupted: %s", error)
            except Exception:
                log.exception("following the fleet failed")
            await asyncio.sleep(_RETRY_S)
