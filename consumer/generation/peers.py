"""What the other workers of the pool tell of their jobs: what one of them has begun is not begun here as well.

A job is delivered again when its partition changes hands, while the worker that had it goes on with it: rebalances stop
nobody. Heartbeats name what runs and what has just ended, and nothing that must be exact rests on them: a job that is
begun twice is paid twice in work, never in units.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from functools import cached_property
from typing import Literal

from pydantic import ValidationError

from consumer.fleet import BrokerClock
from consumer.generation.jobs import JobKey
from schemas.connection import KafkaSettings
from schemas.fleet import HEARD_WITHIN_MS, Heartbeat
from schemas.topics import Topics
from transport.errors import OffsetsUnknown, TransportError
from transport.logs import logger
from transport.records import Record
from transport.tail import Tail

__all__ = ["Claim", "Peers"]

Claim = Literal["none", "runs", "ended", "broken_off"]
"""Of a job: nobody has begun it; a living worker has; its outcome is said; whoever had begun it is gone."""

_RETRY_S = 1.0
_KEPT_MS = 3_600_000
# All beat when they are given partitions, and at the latest after a second.
_TOLD_WITHIN_S = 1.5
_AT_ONE_TIME_MS = 200
"""Members of a group hear of one assignment within about this long."""

_log = logger("generation")


class _Peer:
    """The last word of an instance, read only when it is asked for: in steady work nobody does."""

    def __init__(self, record: Record, pool: str) -> None:
        self._value = record.value or b""
        self._pool = pool
        self.at_ms = record.timestamp_ms

    @cached_property
    def is_worker(self) -> bool:
        """Whether it is a worker of our pool."""
        return self._beat is not None and self._beat.stage == "generation" and self._beat.pool == self._pool

    @cached_property
    def states(self) -> dict[JobKey, str]:
        """Its jobs."""
        if self._beat is None or not self.is_worker:
            return {}
        return {(tenant, request_id, attempt): state for tenant, request_id, attempt, state in self._beat.held}

    @cached_property
    def _beat(self) -> Heartbeat | None:
        try:
            return Heartbeat.model_validate_json(self._value)
        except ValidationError as error:
            _log.warning("not a heartbeat", problems=error.error_count())
            return None


class Peers:
    """Follows the fleet topic; ``read_up`` is set once all that was there at the start is known."""

    def __init__(
        self, kafka: KafkaSettings, clock: BrokerClock, *, instance: str, pool: str, session_timeout_s: float
    ) -> None:
        """``instance`` is our own name, which is not a peer's."""
        self._kafka = kafka
        self._clock = clock
        self._instance = instance
        self._pool = pool
        # When the group gives us the jobs of one that was lost, we know already that it is.
        self._lives_ms = min(HEARD_WITHIN_MS, 800 * session_timeout_s)
        self._last: dict[str, _Peer] = {}
        self._assigned_ms = 0
        self._told_by = 0.0
        self.read_up = asyncio.Event()

    async def run(self) -> None:
        """Follow until cancelled."""
        topic = Topics(self._kafka.prefix).fleet
        while True:
            try:
                async with Tail(self._kafka, [topic], read_committed=False) as tail:
                    reached = asyncio.create_task(self._note_reached(tail))
                    try:
                        async for batch in tail:
                            for record in batch:
                                self.take(record)
                            self._prune(batch[-1].timestamp_ms)
                    finally:
                        reached.cancel()
            except OffsetsUnknown as error:
                _log.warning("the fleet topic is read again", reason=str(error))
                self._last.clear()
            except TransportError as error:
                _log.warning("the fleet topic can't be read", reason=str(error))
            await asyncio.sleep(_RETRY_S)

    def take(self, record: Record) -> None:
        """A heartbeat, or the word that an instance has left."""
        instance = (record.key or b"").decode(errors="replace")
        if instance == self._instance:
            return
        if record.value is None:
            self._last.pop(instance, None)
        else:
            self._last[instance] = _Peer(record, self._pool)

    def rebalanced(self) -> None:
        """Partitions were given out: what the others run now, they say in their next heartbeat."""
        self._assigned_ms = (self._clock.now_ms() or 0) - _AT_ONE_TIME_MS
        self._told_by = time.monotonic() + _TOLD_WITHIN_S

    def claim(self, key: JobKey) -> Claim | None:
        """How the others stand to a job that was delivered before; None as long as that is not known."""
        now_ms = self._clock.now_ms()
        if now_ms is None:
            return None
        found: Claim = "none"
        for peer in self._last.values():
            state = peer.states.get(key)
            if state == "ended":
                return "ended"
            if state == "running":
                found = "runs" if self._lives(peer, now_ms) or found == "runs" else "broken_off"
        if found == "none" and time.monotonic() < self._told_by and not all(self._told(now_ms)):
            return None
        return found

    def _told(self, now_ms: int) -> Iterator[bool]:
        for peer in self._last.values():
            if self._lives(peer, now_ms) and peer.is_worker:
                yield peer.at_ms >= self._assigned_ms

    def _lives(self, peer: _Peer, now_ms: int) -> bool:
        return peer.at_ms + self._lives_ms > now_ms

    def _prune(self, now_ms: int) -> None:
        if any(peer.at_ms + _KEPT_MS < now_ms for peer in self._last.values()):
            self._last = {name: peer for name, peer in self._last.items() if peer.at_ms + _KEPT_MS >= now_ms}

    async def _note_reached(self, tail: Tail) -> None:
        await tail.caught_up.wait()
        self.read_up.set()
