"""Records that were fetched and wait for their batch, bounded: a partition in doubt decides nothing for a while."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from transport.records import Record

__all__ = ["BATCH_BYTES", "Inbox"]

# Dead letters are a third larger than what they hold, and a transaction must end well within its time limit.
BATCH_BYTES = 8 * 1024 * 1024
_HELD_BATCHES = 4
_ROOM_BATCHES = 3


class Inbox:
    """A queue in batches of at most ``batch_records``, each ended by the record that brings it to ``BATCH_BYTES``."""

    def __init__(self, batch_records: int) -> None:
        self._most = batch_records
        self._records: deque[Record] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._records)

    def is_full(self) -> bool:
        """Whether to fetch no more for now."""
        return len(self._records) > _HELD_BATCHES * self._most or self._bytes > _HELD_BATCHES * BATCH_BYTES

    def has_batch(self) -> bool:
        """Whether a whole batch waits."""
        return len(self._records) >= self._most or self._bytes >= BATCH_BYTES

    def has_room(self) -> bool:
        """Whether to fetch again. Early: what comes then may take a while, in which the rest is decided."""
        return len(self._records) <= _ROOM_BATCHES * self._most and self._bytes <= _ROOM_BATCHES * BATCH_BYTES

    def add(self, records: Iterable[Record]) -> None:
        for record in records:
            self._records.append(record)
            self._bytes += _size(record)

    def take(self) -> list[Record]:
        """The next batch; empty if nothing waits."""
        taken: list[Record] = []
        size = 0
        while self._records and len(taken) < self._most and size < BATCH_BYTES:
            taken.append(record := self._records.popleft())
            size += _size(record)
        self._bytes -= size
        return taken

    def clear(self) -> None:
        self._records.clear()
        self._bytes = 0


def _size(record: Record) -> int:
    return len(record.value or b"") + len(record.key or b"")
