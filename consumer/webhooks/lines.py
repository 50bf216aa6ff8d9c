"""Who is served next: a line for each destination, so that a slow or dead one holds up no other. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

from consumer.webhooks.owed import Destination, Owed
from consumer.webhooks.schedule import Schedule

__all__ = ["Line", "Lines"]

_OPEN_AFTER = 5
"""Failures in a row, of whatever events, after which one attempt at a time asks whether the destination is back."""


@dataclass(slots=True)
class Line:
    """What waits for one destination."""

    due: list[tuple[int, int, bytes]] = field(default_factory=list)
    """A heap: when, in which order, what."""
    running: int = 0
    failures: int = 0
    """In a row, over all its events."""
    closed_until_ms: int = 0

    @property
    def broken(self) -> bool:
        return self.failures >= _OPEN_AFTER


class Lines:
    """All lines of a partition. ``most``: attempts at one destination at a time."""

    def __init__(self, schedule: Schedule, *, most: int) -> None:
        self._schedule = schedule
        self._most = most
        self._lines: dict[Destination, Line] = {}
        self._number = 0

    def __iter__(self) -> Iterator[tuple[Destination, Line]]:
        return iter(self._lines.items())

    def add(self, owed: Owed) -> None:
        """It waits until it is due."""
        self._number += 1
        line = self._lines.setdefault(owed.destination, Line())
        heapq.heappush(line.due, (owed.due_ms, self._number, owed.key))

    def waiting(self, destination: Destination) -> int:
        """How many wait there."""
        line = self._lines.get(destination)
        return len(line.due) if line else 0

    def next(self, now_ms: int) -> Iterator[bytes]:
        """What is to be tried now, one of each destination in turn; each of them counts as running."""
        found = True
        while found:
            found = False
            for line in self._lines.values():
                if self._may_start(line, now_ms):
                    found = True
                    line.running += 1
                    yield heapq.heappop(line.due)[2]

    def _may_start(self, line: Line, now_ms: int) -> bool:
        most = 1 if line.broken else self._most
        return bool(line.due) and line.running < most and max(line.due[0][0], line.closed_until_ms) <= now_ms

    def next_ms(self) -> int | None:
        """When something may be due at the earliest; None when only the end of an attempt can change anything."""
        times = [
            max(line.due[0][0], line.closed_until_ms)
            for line in self._lines.values()
            if line.due and line.running < (1 if line.broken else self._most)
        ]
        return min(times, default=None)

    def ended(self, destination: Destination, now_ms: int, *, well: bool) -> None:
        """An attempt there has ended."""
        line = self._lines[destination]
        line.running -= 1
        line.failures = 0 if well else line.failures + 1
        line.closed_until_ms = 0
        if line.broken:
            wait_s = self._schedule.delay_s(line.failures - _OPEN_AFTER + 1, "/".join(destination))
            line.closed_until_ms = now_ms + int(wait_s * 1000)
        if not line.due and not line.running and not line.failures:
            del self._lines[destination]

    def remove(self, destination: Destination) -> list[bytes]:
        """Take all that waits there out of its line."""
        line = self._lines.get(destination)
        if line is None:
            return []
        keys = [key for _, _, key in line.due]
        line.due.clear()
        return keys

    def drop(self, keys: set[bytes]) -> None:
        """Take these out of their lines."""
        for line in self._lines.values():
            kept = [entry for entry in line.due if entry[2] not in keys]
            if len(kept) < len(line.due):
                heapq.heapify(kept)
                line.due = kept

    def forget(self, now_ms: int) -> None:
        """Drop the lines in which nothing waits or runs, once all that is known of them is how long to wait.

        A destination that a request names may never be named again, and its failures would be remembered for ever.
        """
        for destination, line in list(self._lines.items()):
            if not line.due and not line.running and line.closed_until_ms <= now_ms:
                del self._lines[destination]
