"""How far a partition is done: what may be committed when jobs end in any order.

Pure: it neither reads nor commits. Offsets need not follow each other (transactions leave markers in between).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Offsets", "Token"]

Partition = TypeVar("Partition")


@dataclass(frozen=True, slots=True)
class Token(Generic[Partition]):
    """One delivery of one record. Of an earlier ``epoch``, it says nothing about a partition that has come back."""

    partition: Partition
    epoch: int
    offset: int
    fresh: bool = False
    """Its record came after the partition did: no other worker has had it."""


class Offsets(Generic[Partition]):
    """The deliveries of the partitions that are owned now, and which of them are done.

    A partition is ``assign``ed with the offset at which reading begins; each time it gets a new epoch. What may be
    committed never passes an offset that was delivered and is not done, and never goes back.
    """

    def __init__(self) -> None:
        self._epoch = 0
        self._owned: dict[Partition, _Run] = {}

    def assign(self, partition: Partition, start: int, end: int = 0) -> None:
        """Reading of this partition begins at ``start``, which is what is committed, or nothing is yet.

        ``end``: where the partition ended when it was ours already; what follows is fresh.
        """
        self._epoch += 1
        self._owned[partition] = _Run(self._epoch, start, end)

    def revoke(self, partitions: Iterable[Partition]) -> None:
        """These are not ours any more: tokens of them complete nothing."""
        for partition in partitions:
            self._owned.pop(partition, None)

    def deliver(self, partition: Partition, offset: int) -> Token[Partition] | None:
        """A record was read. None when the partition is not owned.

        Raises ``ValueError`` for an offset at or below an earlier one: the reader has gone back without ``assign``.
        """
        run = self._owned.get(partition)
        if run is None:
            return None
        if offset < run.position:
            raise ValueError(f"{partition}: offset {offset} was delivered after {run.position - 1}")
        run.position = offset + 1
        run.pending[offset] = None
        return Token(partition, run.epoch, offset, fresh=offset >= run.end)

    def live(self, token: Token[Partition]) -> bool:
        """Whether the partition has been owned without a break since this delivery."""
        run = self._owned.get(token.partition)
        return run is not None and run.epoch == token.epoch

    def complete(self, token: Token[Partition]) -> None:
        """This delivery is done. Does nothing for one whose partition was revoked since, or that was done before."""
        run = self._owned.get(token.partition)
        if run is not None and run.epoch == token.epoch:
            run.pending.pop(token.offset, None)

    def due(self) -> dict[Partition, int]:
        """The next offset to commit of each partition that has gone on since it was last ``committed``."""
        return {partition: run.next for partition, run in self._owned.items() if run.next > run.committed}

    def committed(self, offsets: dict[Partition, int]) -> None:
        """These were committed."""
        for partition, offset in offsets.items():
            run = self._owned.get(partition)
            if run is not None:
                run.committed = max(run.committed, offset)

    def owned(self) -> frozenset[Partition]:
        return frozenset(self._owned)

    @property
    def pending(self) -> int:
        """Deliveries that are not done."""
        return sum(len(run.pending) for run in self._owned.values())


class _Run:
    """One stretch of ownership. ``pending`` is in the order of the offsets, because delivery is."""

    __slots__ = ("committed", "end", "epoch", "pending", "position")

    def __init__(self, epoch: int, start: int, end: int) -> None:
        self.epoch = epoch
        self.end = end
        self.position = start
        self.committed = start
        self.pending: OrderedDict[int, None] = OrderedDict()

    @property
    def next(self) -> int:
        return next(iter(self.pending), self.position)
