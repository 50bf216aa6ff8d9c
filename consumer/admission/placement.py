"""Which worker a job goes to, and by which partition of its pool's jobs topic it gets there.

Join the shortest queue: of the workers that take new jobs the one where it waits least, by what they report and by what
this partition has sent there that no report names yet. A worker that slows down or says nothing more sees its queue
grow, and gets no more.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from consumer.admission.fleet_view import Heard

__all__ = ["Place", "Queues", "jobs_partition"]


_TRUSTED_MS = 2_000
"""For so long a worker is taken to go on at its rate since its last report; the next one is due after half of it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a job is sent: a partition of the jobs topic, and the worker that has it, where one is known."""

    partition: int
    worker: str | None = None


@dataclass(frozen=True, slots=True)
class Queues:
    """The workers of a pool that take new jobs, as one admission partition sees them. Work in milli-units."""

    workers: Sequence[Heard]
    admission_partition: int
    at_ms: int
    reported: Mapping[str, int]
    """Worker → the work of what this partition sent to it and its report names: its own backlog holds that."""
    own_weight: int = 1
    all_weight: int = 1
    """The active weights of this partition and of all: by as much the others send meanwhile to where we do."""

    def shortest(self, sent_to: Mapping[str, int], model: str) -> Heard | None:
        """Where a job of ``model`` waits least; None when nobody takes new jobs.

        ``sent_to`` is all that this partition has out, by worker. Of equal waits a worker that has the model loaded
        comes first, then the faster one, then each admission partition has its own order. What other partitions have
        sent since the reports nobody knows: as much more than we did as they weigh more, and beyond that each partition
        guesses otherwise. By the same figures all would run to the same worker, and those that send most be the first
        to leave it for a better one.
        """
        count = len(self.workers)
        if not count:
            return None
        if count == 1:
            return self.workers[0]
        typical = _mean_rate(self.workers)
        unknown_ms = self._unknown_ms(typical)

        def key(index: int) -> tuple[int, bool, int, int]:
            heard = self.workers[index]
            beat = heard.beat
            unnamed = max(0, sent_to.get(beat.instance, 0) - self.reported.get(beat.instance, 0))
            unnamed = unnamed * self.all_weight // self.own_weight
            rate = beat.rate_milliunits_s or typical
            done = rate * min(max(0, self.at_ms - heard.at_ms), _TRUSTED_MS) // 1000
            wait_ms = (max(0, beat.backlog_milliunits - done) + unnamed) * 1000 // rate
            wait_ms += self._guess_ms(heard, unknown_ms)
            return wait_ms, model not in beat.models, -rate, (index - self.admission_partition) % count

        return self.workers[min(range(count), key=key)]

    def _unknown_ms(self, typical: int) -> int:
        """How far others may have changed a wait since the reports: by their part of two reports, and while the fleet
        has less to do than that, by as long as it has."""
        rate = sum(heard.beat.rate_milliunits_s or typical for heard in self.workers)
        whole_ms = sum(heard.beat.backlog_milliunits for heard in self.workers) * 1000 // rate
        return min(whole_ms, _TRUSTED_MS * (self.all_weight - self.own_weight) // self.all_weight)

    def _guess_ms(self, heard: Heard, unknown_ms: int) -> int:
        # Drawn from the report: a decision made again after a crash guesses the same.
        drawn = zlib.crc32(f"{self.admission_partition}/{heard.beat.instance}/{heard.at_ms}".encode())
        return drawn % (unknown_ms + 1)

    def place(self, worker: Heard) -> Place:
        """Of a worker's partitions the one that this admission partition shares with the fewest others.

        While a transaction of ours is open, nobody reads what others have written behind it on the same partition.
        """
        theirs = sorted(worker.beat.partitions)
        return Place(theirs[self.admission_partition % len(theirs)], worker.beat.instance)


def jobs_partition(admission_partition: int, sequence: int, jobs_partitions: int) -> int:
    """Where a job goes while no worker is known: the next partition in turn, each of ours beginning elsewhere.

    Every partition gets its share, and so does each worker of the group, whatever the assignment is. Computed from the
    request alone: a decision made again after a crash chooses the same partition.
    """
    return (admission_partition + sequence) % jobs_partitions


def _mean_rate(workers: Sequence[Heard]) -> int:
    """What a worker that has run nothing yet is taken for, in milli-units a second."""
    known = [heard.beat.rate_milliunits_s for heard in workers if heard.beat.rate_milliunits_s > 0]
    return max(1, sum(known) // len(known)) if known else 1
