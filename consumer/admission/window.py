"""How much of a pool's work may be out at once, and how much of that is one partition's.

The window of a pool is twice what its living workers can run in one batch each: one that runs, and one that waits
beside it so that no GPU waits for us. What is beyond it waits in admission, where order and cancel are still ours.
Partitions divide the window by their active weight, the summed weights of the tenants that have something waiting or in
flight there. Each may always have one job out, so that no report, be it stale or wrong, can stop it; and what is stuck
with a worker that has slowed down, or gone, does not take up the room of the others for long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from consumer.admission.fleet_view import Heard

__all__ = ["Window", "able", "window_of"]

_BATCHES = 2
_STUCK = 4
"""What is out for so many times as long as all that is out should take is stuck, and counts no more."""


@dataclass(frozen=True, slots=True)
class Window:
    """What a partition may have with one pool: work in milli-units where the pool's capacity is known, else jobs."""

    milliunits: int | None
    jobs: int
    stuck_ms: int | None = None
    """After this time what is out counts no more; None while no rate is known."""

    def has_room(self, jobs: int, milliunits: int, work: int) -> bool:
        """Whether a job of so much ``work`` may leave beside these ``jobs`` and their ``milliunits``.

        Half of it has to fit: what a partition has out is then its part of the window on the average, however large its
        jobs are. The only one may always leave.
        """
        if self.milliunits is None:
            return jobs < self.jobs
        return not milliunits or 2 * milliunits + work <= 2 * self.milliunits


def able(workers: Sequence[Heard]) -> list[Heard]:
    """Those of the living workers that take new jobs: not on their way out, and with a partition to read from."""
    return [heard for heard in workers if heard.beat.partitions and not heard.beat.draining]


def window_of(workers: Sequence[Heard], own_weight: int, others_weight: int, *, partitions: int, jobs: int) -> Window:
    """One partition's part of the window of a pool whose ``able`` workers these are.

    ``own_weight`` and ``others_weight`` are the active weights of this partition and of all others, as the fleet was
    told; 0 of its own while it has not been: others may have begun just now as well, and the partition has an equal
    part of all ``partitions``, or one batch. A worker that has run nothing yet counts as the mean of the others.
    ``jobs`` bounds a partition while no capacity is known: with no worker alive so many still go to the jobs topic,
    where an autoscaler sees them.
    """
    known = [heard.beat.capacity_milliunits for heard in workers if heard.beat.capacity_milliunits > 0]
    if not known:
        return Window(None, jobs)
    window = _BATCHES * len(workers) * sum(known) // len(known)
    even = max(window // partitions, *known)
    share = window * own_weight // (own_weight + others_weight) if own_weight else even
    rate = sum(heard.beat.rate_milliunits_s for heard in workers)
    # Where more is out than a window, all of it takes longer: that is no reason to send still more.
    out = max(window, sum(heard.beat.backlog_milliunits for heard in workers))
    return Window(share, jobs, _STUCK * 1000 * out // rate if rate else None)
