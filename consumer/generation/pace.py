"""How much a worker holds at once and gets done: what admission shares work out by. Pure: the caller has the clock."""

from __future__ import annotations

import math

__all__ = ["Pace"]

_MEMORY_S = 10.0
"""Seconds of running after which what was seen weighs 1/e: a worker that slows down is known for it within as long."""
_NEWEST = 0.25
"""The weight of the newest batch in the capacity."""


class Pace:
    """Work in milli-units, times in seconds of a monotonic clock. One batch at a time."""

    def __init__(self) -> None:
        self._capacity = 0.0
        self._work = 0.0
        self._seconds = 0.0
        self._since: float | None = None

    def begin(self, full: float, now: float) -> None:
        """A batch is taken up; a full one of its kind is ``full`` of work."""
        self._capacity = full if not self._capacity else self._capacity + _NEWEST * (full - self._capacity)
        self._since = now

    def progress(self, work: float, now: float) -> None:
        """So much of it was done since it began, or since the last time."""
        if self._since is None:
            return
        passed = max(0.0, now - self._since)
        kept = math.exp(-passed / _MEMORY_S)
        self._work = self._work * kept + work
        self._seconds = self._seconds * kept + passed
        self._since = now

    def end(self, now: float) -> None:
        """It has ended, one way or the other."""
        self.progress(0.0, now)
        self._since = None

    @property
    def capacity(self) -> int:
        """The work of a full batch of what ran lately; 0 before the first."""
        return round(self._capacity)

    def rate(self, now: float) -> int:
        """The work done in a second of running; 0 before any was. Falls while a batch stands still."""
        passed = 0.0 if self._since is None else max(0.0, now - self._since)
        kept = math.exp(-passed / _MEMORY_S)
        seconds = self._seconds * kept + passed
        return round(self._work * kept / seconds) if seconds else 0
