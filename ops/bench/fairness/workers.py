"""Workers of a simulated fleet: they take jobs by partition, run them in batches, and tell the fleet once a second."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from consumer.admission.fleet_view import Heard
from schemas.fleet import Heartbeat, HeldJob
from schemas.jobs import JobAssigned

__all__ = ["MODEL", "UNIT", "SimulatedWorker", "Speed"]

MODEL = "m"
UNIT = 1_000
"""The work of a picture, in milli-units."""

_ALONE = 0.4
"""What a batch of one takes, of the time of a full one: a GPU is not busy with one picture."""


@dataclass(frozen=True, slots=True)
class Speed:
    """``room``: pictures in a full batch; ``full_ms``: what one takes."""

    room: int
    full_ms: int

    @property
    def per_s(self) -> float:
        """Pictures a second in full batches."""
        return self.room * 1000 / self.full_ms

    def batch_ms(self, pictures: int) -> int:
        """What a batch of so many takes."""
        filled = (pictures - 1) / max(1, self.room - 1)
        return round(self.full_ms * (_ALONE + (1 - _ALONE) * filled))


@dataclass(slots=True)
class SimulatedWorker:
    """One worker; times in ms. Pictures of one job may fall into two batches, as they may in a real one."""

    name: str
    speed: Speed
    partitions: list[int]
    waiting: deque[tuple[JobAssigned, int]] = field(default_factory=deque)
    """Jobs and how many pictures of each are still to be begun."""
    running: list[tuple[JobAssigned, int]] = field(default_factory=list)
    _done: int = 0
    _busy_ms: int = 0

    def begin(self) -> tuple[int, list[JobAssigned]]:
        """Take the next batch: what it takes, and the jobs that begin with it."""
        room, begun = self.speed.room, []
        while self.waiting and room:
            job, left = self.waiting.popleft()
            if left == job.parameters.images:
                begun.append(job)
            taken = min(left, room)
            room -= taken
            self.running.append((job, taken))
            if left > taken:
                self.waiting.appendleft((job, left - taken))
        return self.speed.batch_ms(self.speed.room - room), begun

    def end(self, took_ms: int) -> list[JobAssigned]:
        """The batch has ended: the jobs that ended with it."""
        self._done += sum(pictures for _, pictures in self.running)
        self._busy_ms += took_ms
        unfinished = self.waiting[0][0] if self.waiting else None
        ended = [job for job, _ in self.running if job is not unfinished]
        self.running.clear()
        return ended

    def beat(self, at_ms: int) -> Heard:
        """What it tells."""
        pictures = sum(left for _, left in self.waiting) + sum(pictures for _, pictures in self.running)
        held = [(job, "waiting") for job, _ in self.waiting] + [(job, "running") for job, _ in self.running]
        beat = Heartbeat.model_construct(
            instance=self.name,
            stage="generation",
            pool="default",
            partitions=self.partitions,
            ready=True,
            draining=False,
            held=[HeldJob(job.tenant, job.request_id, job.attempt, state) for job, state in held],  # type: ignore[arg-type]
            capacity_milliunits=self.speed.room * UNIT if self._done else 0,
            rate_milliunits_s=self._done * UNIT * 1000 // self._busy_ms if self._busy_ms else 0,
            backlog_milliunits=pictures * UNIT,
            models={MODEL: "r"},
            demand={},
        )
        return Heard(beat, at_ms)
