"""Follows the fleet topic, from its compacted beginning on, for as long as admission runs.

Nothing waits for it: whoever decides takes the snapshot of the moment. While the broker is away, or before anything was
read, that snapshot is old or empty, and work goes on.
"""

from __future__ import annotations

import asyncio

from pydantic import ValidationError

from consumer.admission.fleet_view import NO_FLEET, Fleet, Heard
from schemas.connection import KafkaSettings
from schemas.fleet import HEARD_WITHIN_MS, Heartbeat
from schemas.topics import Topics
from transport.logs import logger
from transport.records import Record
from transport.tail import Tail

__all__ = ["FleetTail"]

_RETRY_S = 1.0
_KEPT_MS = 15 * HEARD_WITHIN_MS
"""Who has been silent for this long is let go of: killed instances leave no word behind, and new names come."""

_log = logger("fleet")


class FleetTail:
    """What is known of the fleet now."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._topic = Topics(settings.prefix).fleet
        self._heard: dict[str, Heard] = {}
        self._fleet: Fleet | None = NO_FLEET

    @property
    def fleet(self) -> Fleet:
        """A snapshot; the same one until something more was heard."""
        if self._fleet is None:
            self._fleet = Fleet(dict(self._heard))
        return self._fleet

    async def run(self) -> None:
        """Follow until cancelled, whatever happens to the broker or to the topic."""
        while True:
            try:
                # Nobody writes here in transactions; and one left open elsewhere must not hide the fleet.
                async with Tail(self._settings, [self._topic], read_committed=False) as tail:
                    self._heard = {}
                    async for records in tail:
                        self.take(records)
            except Exception as error:
                _log.warning("the fleet is followed again from the beginning", reason=str(error))
            await asyncio.sleep(_RETRY_S)

    def take(self, records: list[Record]) -> None:
        """Take in records of the fleet topic, oldest first."""
        for record in records:
            instance = (record.key or b"").decode(errors="replace")
            if record.value is None:
                self._heard.pop(instance, None)
                continue
            try:
                beat = Heartbeat.model_validate_json(record.value)
            except ValidationError as error:
                _log.warning("not a heartbeat", instance=instance, offset=record.offset, problems=error.error_count())
                continue
            self._heard[instance] = Heard(beat, record.timestamp_ms)
        latest_ms = max((record.timestamp_ms for record in records), default=0)
        self._heard = {name: heard for name, heard in self._heard.items() if heard.at_ms + _KEPT_MS > latest_ms}
        self._fleet = None
