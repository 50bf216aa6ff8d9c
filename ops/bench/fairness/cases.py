"""The cases of the bench: who asks for what, and what is read from the schedule that comes of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from statistics import mean, quantiles

from consumer.admission.fairness import AGEING_MS
from ops.bench.fairness.simulation import PARTITIONS, Job, Simulation
from ops.bench.fairness.workers import Speed
from schemas.tenants import Limits, Tenant
from transport.partitioning import partition_of

__all__ = ["Ageing", "Busy", "Light", "ageing", "busy", "jain", "light", "uneven", "weights_error"]

_ASKED_FROM_MS = 2_000
"""By then the workers were heard."""
_WATCHED_FROM_MS = 10_000
"""By then each has run a batch, and is known by it."""
_LIMITS = Limits(queued=1_000_000)
_FLOOD = 10_000


@dataclass(frozen=True, slots=True)
class Busy:
    """Tenants that all want more than there is: what each got, in pictures, and how idle the workers were."""

    weights: Mapping[str, int]
    pictures: Mapping[str, int]
    idle_share: float

    @property
    def by_weight(self) -> list[float]:
        """What each tenant got for its weight."""
        return [self.pictures[name] / weight for name, weight in self.weights.items()]


@dataclass(frozen=True, slots=True)
class Light:
    """The waits of a light tenant until its pictures are begun, in ms: alone, and beside a flood."""

    alone_ms: Sequence[float]
    beside_ms: Sequence[float]
    batch_ms: float

    @property
    def ratio(self) -> float:
        """Its p95 beside the flood, of its p95 alone and one full batch."""
        return _p95(self.beside_ms) / (_p95(self.alone_ms) + self.batch_ms)


@dataclass(frozen=True, slots=True)
class Ageing:
    """A tenant that asks for urgent work all the time: the longest time after which something passed a low one."""

    passed_after_ms: int
    low_done: int
    bound_ms: int = 2 * AGEING_MS


def uneven(number: int) -> list[Speed]:
    """Workers of 4 to 16 pictures in 0.8 to 1.6 s: the fastest does eight times the work of the slowest."""
    return [Speed(room=4 + 4 * (index % 4), full_ms=800 + 200 * (index % 5)) for index in range(number)]


def busy(weights: Mapping[str, int], speeds: Sequence[Speed], seconds: float, *, mixed: bool = True) -> Busy:
    """All tenants ask for more than they can get, in requests of one to four pictures when ``mixed``."""
    tenants = [Tenant(id=name, weight=weight, limits=_LIMITS) for name, weight in weights.items()]
    simulation = Simulation(tenants, speeds)
    until_ms = round(seconds * 1000) + _WATCHED_FROM_MS
    # Twice its share, and some to begin with.
    each = 2 * simulation.pictures_per_s * until_ms / 1000 / sum(weights.values())
    for index, (name, weight) in enumerate(weights.items()):
        asked = 0
        for number in count():
            if asked > each * weight + 20:
                break
            pictures = 1 + (index + number) % 4 if mixed else 1
            simulation.ask(name, _ASKED_FROM_MS + number % 1_000, pictures=pictures)
            asked += pictures
    simulation.run(_WATCHED_FROM_MS)
    simulation.watch_idle()
    simulation.run(until_ms)
    got: Counter[str] = Counter(dict.fromkeys(weights, 0))
    for job in simulation.jobs.values():
        if job.begun_ms is not None and job.begun_ms >= _WATCHED_FROM_MS:
            got[job.tenant] += job.pictures
    return Busy(weights, got, simulation.idle_share)


def light(speeds: Sequence[Speed], requests: int) -> Light:
    """A tenant that asks for a picture now and then, alone and beside 10,000 requests of another on its partition."""
    other, mine = neighbours(2)
    # Not in step with the batches: every phase of them is met.
    times = [_WATCHED_FROM_MS + 1_237 * number for number in range(requests)]
    waits: list[list[float]] = []
    for flood in (0, _FLOOD):
        simulation = Simulation([Tenant(id=name, limits=_LIMITS) for name in (other, mine)], speeds)
        for number in range(flood):
            simulation.ask(other, _ASKED_FROM_MS + number % 1_000)
        jobs = [simulation.ask(mine, at_ms) for at_ms in times]
        simulation.run(times[-1] + 30_000)
        waits.append([_wait(job, simulation.now_ms) for job in jobs])
    return Light(waits[0], waits[1], mean(speed.full_ms for speed in speeds))


def ageing(minutes: float) -> Ageing:
    """One worker, and half as much again as it can do: all urgent, but for a low request now and then."""
    (name,) = neighbours(1)
    speed = Speed(room=2, full_ms=2_000)
    simulation = Simulation([Tenant(id=name, limits=_LIMITS)], [speed])
    until_ms = round(minutes * 60_000)
    every_ms = round(1000 / speed.per_s / 1.6)
    for number, at_ms in enumerate(range(_ASKED_FROM_MS, until_ms, every_ms)):
        simulation.ask(name, at_ms, priority="low" if number % 20 == 5 else "high")
    simulation.run(until_ms)
    sent = sorted((job for job in simulation.jobs.values() if job.sent is not None), key=lambda job: job.sent or 0)
    youngest, passed = 0, 0
    for job in sent:
        if job.priority == "low":
            passed = max(passed, youngest - job.asked_ms)
        else:
            youngest = max(youngest, job.asked_ms)
    unserved = [job for job in simulation.jobs.values() if job.priority == "low" and job.sent is None]
    passed = max([passed, *(youngest - job.asked_ms for job in unserved)])
    return Ageing(passed, sum(job.priority == "low" for job in sent))


def neighbours(number: int) -> list[str]:
    """Tenants of one partition."""
    names = (f"tenant-{index}" for index in count())
    return list(islice((name for name in names if partition_of(name.encode(), PARTITIONS) == 0), number))


def jain(shares: Sequence[float]) -> float:
    """Jain's index of fairness: 1 when all are equal, 1/n when one has everything."""
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


def weights_error(got: Busy) -> float:
    """How far the worst class of equal weight is from its part of all, relative to it."""
    by_class: dict[int, list[float]] = {}
    for (name, weight), _ in zip(got.weights.items(), got.by_weight, strict=True):
        by_class.setdefault(weight, []).append(got.pictures[name])
    whole, weights = sum(got.pictures.values()), sum(got.weights.values())
    return max(abs(sum(found) / whole * weights / (weight * len(found)) - 1) for weight, found in by_class.items())


def _wait(job: Job, now_ms: int) -> float:
    return float((now_ms if job.begun_ms is None else job.begun_ms) - job.asked_ms)


def _p95(values: Iterable[float]) -> float:
    return quantiles(values, n=20, method="inclusive")[18]
