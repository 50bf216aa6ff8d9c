"""What a worker has taken on: jobs that wait or run here, those that just ended, and how far each partition is done.

One event loop uses it, and no method waits: what is true when a method begins is true when it ends.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable
from itertools import islice

from consumer.generation.batching import Batcher, BatchKey, Piece
from consumer.generation.jobs import Job, JobKey
from consumer.generation.offsets import Offsets, Token
from schemas.fleet import Held, HeldJob
from schemas.jobs import JobAssigned
from transport.records import TopicPartition

__all__ = ["Backlog"]

# A rebalance delivers again what was not committed in time: a few seconds of work at most.
_REMEMBERED = 10_000
_TOLD_S = 60.0
_TOLD = 1_000
"""Ended jobs that a heartbeat names at most, the newest: about 70 KB. One that goes untold is found by its manifest."""


class Backlog:
    """Jobs and offsets together: a record is done when its job has ended, wherever else the job was delivered.

    ``continuous(model)``: whether its pictures run each at a step of its own.
    """

    def __init__(self, budget: Callable[[BatchKey], int], continuous: Callable[[str], bool] = lambda _: False) -> None:
        self._continuous = continuous
        self.offsets: Offsets[TopicPartition] = Offsets()
        self.batcher: Batcher[Job] = Batcher(budget)
        self.changed = asyncio.Event()
        """Set when there may be a batch to take."""
        self.completed = asyncio.Event()
        """Set when there may be an offset to commit."""
        self.lessened = asyncio.Event()
        """Set when there may be room for more."""
        self._jobs: dict[JobKey, Job] = {}
        self._ended: OrderedDict[JobKey, float] = OrderedDict()

    @property
    def jobs(self) -> list[Job]:
        """Those that wait, run or are being stored."""
        return list(self._jobs.values())

    @property
    def work_left(self) -> int:
        """Of the jobs that are to run here, in milli-units."""
        return sum(job.work_left for job in self._jobs.values() if not job.left_to_peer)

    @property
    def waiting(self) -> int:
        """What was taken on and is not done."""
        return max(len(self._jobs), self.offsets.pending)

    def attempts_at(self, tenant: str, request_id: str) -> list[Job]:
        """The jobs of one request."""
        return [job for key, job in self._jobs.items() if key[1] == request_id and key[0] == tenant]

    def held(self) -> list[Held]:
        """Every job that is here, and those that ended within the last minute, as the others are told."""
        held: list[Held] = [HeldJob(*job.key, "running" if job.announced else "waiting") for job in self._jobs.values()]
        oldest = time.monotonic() - _TOLD_S
        for key, ended_at in islice(reversed(self._ended.items()), _TOLD):
            if ended_at < oldest:
                break
            held.append(HeldJob(*key, "ended"))
        return held

    def admit(self, assigned: JobAssigned, traceparent: str | None, delivery: Token[TopicPartition]) -> Job | None:
        """A job as it arrives; None for one that runs, waits or just ended here, which this delivery then joins."""
        key = assigned.tenant, assigned.request_id, assigned.attempt
        if key in self._ended:
            self.done(delivery)
            return None
        known = self._jobs.get(key)
        if known is not None:
            known.deliveries.append(delivery)
            return None
        job = Job(assigned, traceparent, [delivery], alone=assigned.alone)
        self._jobs[key] = job
        return job

    def enqueue(self, job: Job) -> None:
        """This job may run now, unless its partition was revoked in the meantime."""
        if self.wanted(job):
            self.batcher.add(job, self._key(job), range(job.parameters.images), alone=job.alone)
            self.changed.set()

    def isolate(self, job: Job) -> None:
        """What is left of it runs with no other job."""
        job.alone = True
        self.batcher.isolate(job)

    def put_back(self, job: Job, indices: Iterable[int]) -> None:
        """These pictures have to be made again, before anything else."""
        if self.wanted(job):
            self.batcher.put_back(job, self._key(job), indices, alone=job.alone)
            self.changed.set()
        else:
            self._forget(job)

    def take(self, warm: Container[str] = ()) -> tuple[BatchKey, list[Piece[Job]]] | None:
        """The next batch of pictures that are still wanted; None when nothing waits. ``warm``: see ``Batcher.next``."""
        while (taken := self.batcher.next(warm)) is not None:
            key, pieces = taken
            wanted = [piece for piece in pieces if self.wanted(piece.owner)]
            if wanted:
                return key, wanted
        self.changed.clear()
        return None

    def take_more(self, key: BatchKey, room: int) -> list[Piece[Job]]:
        """Up to ``room`` pictures that are still wanted, to join those of ``key`` that run."""
        return [piece for piece in self.batcher.more(key, room) if self.wanted(piece.owner)]

    def wanted(self, job: Job) -> bool:
        """Whether it is ours to run: it has begun, or one of the partitions that brought it is still owned."""
        if job.closing or job.dropped:
            return False
        return job.announced or any(self.offsets.live(delivery) for delivery in job.deliveries)

    def end(self, job: Job) -> None:
        """It needs nothing more: its outcome is acked, or none is wanted."""
        self.batcher.remove(job)
        if self._jobs.get(job.key) is job:
            del self._jobs[job.key]
        self._ended[job.key] = time.monotonic()
        self._ended.move_to_end(job.key)
        if len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)
        for delivery in job.deliveries:
            self.done(delivery)

    def done(self, delivery: Token[TopicPartition]) -> None:
        """Nothing is left to do for this record."""
        self.offsets.complete(delivery)
        self.completed.set()
        self.lessened.set()

    def revoke(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget the jobs of these partitions that have not begun: whoever owns them next starts them."""
        self.offsets.revoke(partitions)
        for job in self.jobs:
            if not self.wanted(job):
                self._forget(job)

    def _key(self, job: Job) -> BatchKey:
        key = job.batch_key
        return key.without_steps() if self._continuous(key.model) else key

    def _forget(self, job: Job) -> None:
        """Whoever is given its record next may start it. One whose outcome is on its way stays until it is acked."""
        self.batcher.remove(job)
        if not job.closing and self._jobs.get(job.key) is job:
            del self._jobs[job.key]
