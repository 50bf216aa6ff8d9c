"""Which partition of a pool's jobs topic a job goes to."""

from __future__ import annotations

__all__ = ["jobs_partition"]


def jobs_partition(admission_partition: int, sequence: int, jobs_partitions: int) -> int:
    """The next partition in turn, each admission partition beginning elsewhere.

    Every partition gets its share, and so does each worker of the group, whatever the assignment is. Computed from the
    request alone: a decision made again after a crash chooses the same partition.
    """
    return (admission_partition + sequence) % jobs_partitions
