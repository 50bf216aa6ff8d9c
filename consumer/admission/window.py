"""How much of a pool's work may be out at once, and how much of that is one partition's.

The window of a pool is twice what its living workers can run in one batch each: one that runs, and one that waits
beside it so that no GPU waits for us. What is beyond it waits in admission, where order and cancel are still ours.
Partitions divide the window by their active weight, the summed weights of the tenants that have something waiting or in
flight there; each may always have one batch out, so that no report, be it stale or wrong, can stop it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from consumer.admission.fleet_view import Heard

__all__ = ["Window", "able", "window_of"]

_BATCHES = 2


@dataclass(frozen=True, slots=True)
class Window:
    """What a partition may have with one pool: work in milli-units where the pool's capacity is known, else jobs."""

    milliunits: int | None
    jobs: int

    def has_room(self, jobs: int, milliunits: int) -> bool:
        """Whether one more may leave beside these. The last one may reach beyond the window, so that any can leave."""
        return jobs < self.jobs if self.milliunits is None else milliunits < self.milliunits


def able(workers: Sequence[Heard]) -> list[Heard]:
    """Those of the living workers that take new jobs: not on their way out, and with a partition to read from."""
    return [heard for heard in workers if heard.beat.partitions and not heard.beat.draining]


def window_of(workers: Sequence[Heard], own_weight: int, others_weight: int, jobs: int) -> Window:
    """One partition's part of the window of a pool whose ``able`` workers these are.

    ``own_weight`` and ``others_weight`` are the active weights of this partition and of all others. A worker that has
    run nothing yet counts as the mean of the others. ``jobs`` bounds a partition while no capacity is known: with no
    worker alive so many still go to the jobs topic, where an autoscaler sees them.
    """
    known = [heard.beat.capacity_milliunits for heard in workers if heard.beat.capacity_milliunits > 0]
    if not known:
        return Window(None, jobs)
    window = _BATCHES * len(workers) * sum(known) // len(known)
    weights = own_weight + others_weight
    share = window * own_weight // weights if weights else 0
    return Window(max(share, *known), jobs)
