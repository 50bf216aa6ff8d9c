"""Keeps a board up to date from the topics, for as long as it is looked at, also while the broker is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from datetime import timedelta

from ops.top.board import DEAD_LETTERS_MS, WINDOW_MS, Board
from schemas.connection import KafkaSettings
from schemas.topics import Topics
from transport.errors import Misconfigured, TransportError
from transport.records import Record
from transport.tail import Start, Tail

__all__ = ["Following"]

_RETRY_S = 1.0
# Every instance beats once a second.
_SILENT_S = 5.0
# The newest entry of whoever used anything today lies within it, wherever the tenant's day begins.
_USAGE_BACK = timedelta(hours=25)


class Following:
    """Fills ``board`` while it runs. ``problem`` says what stands in the way; None while all is well."""

    def __init__(self, kafka: KafkaSettings, board: Board) -> None:
        self._kafka = kafka
        topics = Topics(kafka.prefix)
        self._fleet = topics.fleet
        self._sources: list[tuple[str, Start, Callable[[Iterable[Record]], None]]] = [
            (topics.fleet, "earliest", board.fleet),
            (topics.results, timedelta(milliseconds=WINDOW_MS), board.results),
            (topics.usage, _USAGE_BACK, board.usage),
            (topics.dead_letters, timedelta(milliseconds=DEAD_LETTERS_MS), board.dead_letters),
        ]
        self._caught_up = {topic: asyncio.Event() for topic, _, _ in self._sources}
        self._problems: dict[str, str] = {}
        self._ahead_ms = 0.0
        self.heard_at = time.monotonic()
        """When something was read last, by the monotonic clock."""

    @property
    def problem(self) -> str | None:
        silent_s = time.monotonic() - self.heard_at
        if self._problems or silent_s < _SILENT_S:
            return next(iter(self._problems.values()), None)
        return f"nothing to read for {silent_s:.0f} s: is Kafka up, and does any service run?"

    def now_ms(self) -> int:
        """Now by the broker's clock, as far as the records tell it."""
        return int(time.time() * 1000 + self._ahead_ms)

    async def run(self) -> None:
        """Follow until cancelled. Raises ``Misconfigured`` where the cluster refuses to be read."""
        async with asyncio.TaskGroup() as group:
            for topic, start, take in self._sources:
                group.create_task(self._follow(topic, start, take))

    async def until_caught_up(self, limit_s: float) -> None:
        """Wait until everything that was there at the start is on the board. Raises ``TimeoutError``."""
        async with asyncio.timeout(limit_s):
            await asyncio.gather(*(event.wait() for event in self._caught_up.values()))

    async def _follow(self, topic: str, start: Start, take: Callable[[Iterable[Record]], None]) -> None:
        while True:
            try:
                async with Tail(self._kafka, [topic], start=start, read_committed=topic != self._fleet) as tail:
                    self._problems.pop(topic, None)
                    told = asyncio.create_task(self._tell(topic, tail))
                    try:
                        async for records in tail:
                            self._ahead_ms = max(self._ahead_ms, records[-1].timestamp_ms - time.time() * 1000)
                            self.heard_at = time.monotonic()
                            take(records)
                    finally:
                        told.cancel()
            except Misconfigured:
                raise
            except TransportError as error:
                self._problems[topic] = str(error)
                await asyncio.sleep(_RETRY_S)

    async def _tell(self, topic: str, tail: Tail) -> None:
        await tail.caught_up.wait()
        self._caught_up[topic].set()
