"""An installation in virtual time: the real decisions on real records, between them simulated clocks and workers.

Every partition decides by ``decide_batch``, as in production; a transaction takes a few milliseconds, and workers read
what was committed. Nothing is random and no clock is read: the same plan gives the same schedule to the millisecond.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from consumer.admission.batch import decide_batch
from consumer.admission.fleet_view import Fleet, Heard
from consumer.admission.outlook import demand_of
from consumer.admission.rules import Rules
from consumer.admission.state import PartitionState
from ops.bench.fairness.workers import MODEL, SimulatedWorker, Speed
from schemas.catalog import Catalog, Defaults, ModelCard
from schemas.envelope import Envelope
from schemas.fleet import Heartbeat
from schemas.jobs import JobAssigned, JobSucceeded
from schemas.outputs import Output
from schemas.requests import GenerationRequest, Priority
from schemas.signing import KeyEntry, Signer
from schemas.tenants import Directory, Tenant
from schemas.topics import Topics
from transport.partitioning import partition_of
from transport.records import Outgoing, Record

__all__ = ["PARTITIONS", "Job", "Simulation"]

PARTITIONS = 12
_START_MS = 1_795_262_400_000
_COMMIT_MS = 8
_HEARD_MS = 10
_BEAT_MS = 1_000
_TICK_MS = 250
_INSTALLATION = "easel"
_TOPICS = Topics()


@dataclass(slots=True)
class Job:
    """What became of a request. Times in ms from the start."""

    tenant: str
    pictures: int
    priority: Priority
    asked_ms: int
    sent: int | None = None
    """Its place among all that left for the fleet."""
    begun_ms: int | None = None
    ended_ms: int | None = None


class _Partition:
    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.state = PartitionState()
        self.state.next_offsets = dict.fromkeys(rules.inputs.values(), 0)
        self.inbox: list[Record] = []
        self.ends = dict.fromkeys(rules.inputs, 0)
        self.busy = False


class Simulation:
    """Tenants, partitions and workers; ``window_jobs`` as in the settings of admission."""

    def __init__(self, tenants: Sequence[Tenant], speeds: Sequence[Speed], *, window_jobs: int = 16) -> None:
        jobs_partitions = max(48, len(speeds))
        self.now_ms = 0
        self.jobs: dict[str, Job] = {}
        self.busy_workers = 0
        self.idle_ms = 0
        """Time of workers that did nothing while something waited, from ``watch_idle`` on."""
        self._watched_from: int | None = None
        self._accounted_ms = 0
        self._waiting = 0
        """Pictures that are accepted and not begun."""
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()
        self._sent = count()
        self._fleet: Fleet | None = None
        self._heard: dict[str, Heard] = {}
        secret = {tenant.id: hashlib.sha256(tenant.id.encode()).digest() for tenant in tenants}
        self._signers = {name: Signer(name, "HS256", key, name, _INSTALLATION) for name, key in secret.items()}
        keys = {name: KeyEntry(name, "HS256", name, frozenset({name}), key) for name, key in secret.items()}
        directory = Directory(1, {tenant.id: tenant for tenant in tenants}, keys, {})
        self.partitions = [
            _Partition(
                Rules(
                    installation=_INSTALLATION,
                    topics=_TOPICS,
                    partition=number,
                    partitions=PARTITIONS,
                    jobs_partitions=jobs_partitions,
                    window_jobs=window_jobs,
                    catalog=_catalog(),
                    directory=directory,
                )
            )
            for number in range(PARTITIONS)
        ]
        share = [list(range(index, jobs_partitions, len(speeds))) for index in range(len(speeds))]
        self.workers = [SimulatedWorker(f"w{i:03}", speed, share[i]) for i, speed in enumerate(speeds)]
        self._reader = {number: worker for worker in self.workers for number in worker.partitions}
        for index, worker in enumerate(self.workers):
            self._at(index * _BEAT_MS // len(speeds), lambda worker=worker: self._beat(worker))  # type: ignore[misc]
        for number in range(PARTITIONS):
            self._at(number * _TICK_MS // PARTITIONS, lambda number=number: self._tick(number))  # type: ignore[misc]
        self._at(0, self._admission_beats)

    @property
    def pictures_per_s(self) -> float:
        """What the whole fleet makes in full batches."""
        return sum(worker.speed.per_s for worker in self.workers)

    def ask(self, tenant: str, at_ms: int, *, pictures: int = 1, priority: Priority = "normal") -> Job:
        """A request of a tenant at that time."""
        name = _request_id(len(self.jobs), _START_MS + at_ms)
        job = self.jobs[name] = Job(tenant, pictures, priority, at_ms)
        self._at(at_ms, lambda: self._publish(name, job))
        return job

    def watch_idle(self) -> None:
        """Count from now on how long workers do nothing while something waits."""
        self._account()
        self._watched_from, self.idle_ms = self.now_ms, 0

    @property
    def idle_share(self) -> float:
        """The part of all workers' time since ``watch_idle`` in which they did nothing although something waited."""
        self._account()
        watched_ms = self.now_ms - (self._watched_from or 0)
        return self.idle_ms / (watched_ms * len(self.workers)) if watched_ms else 0.0

    def run(self, until_ms: int) -> None:
        """Let time pass up to ``until_ms``."""
        while self._events and self._events[0][0] <= until_ms:
            at_ms, _, event = heapq.heappop(self._events)
            self._account(at_ms)
            event()
        self._account(until_ms)

    def _at(self, at_ms: int, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (max(at_ms, self.now_ms), next(self._order), event))

    def _account(self, at_ms: int | None = None) -> None:
        at_ms = self.now_ms if at_ms is None else at_ms
        idle = min(len(self.workers) - self.busy_workers, self._waiting)
        self.idle_ms += (at_ms - self._accounted_ms) * idle
        self._accounted_ms = self.now_ms = at_ms

    def _publish(self, name: str, job: Job) -> None:
        fields = {"prompt": "a red circle", "model": MODEL, "images": job.pictures, "priority": job.priority}
        data = json.dumps(fields).encode()
        now_s = (_START_MS + self.now_ms) / 1000
        kind = GenerationRequest.TYPE
        token = self._signers[job.tenant].sign(
            tenant=job.tenant, event_type=kind, event_id=name, body=data, now_s=now_s
        )
        self._waiting += job.pictures
        self._append(_TOPICS.requests, job.tenant, Envelope(name, kind, "bench", data, signature=token))

    def _append(self, topic: str, tenant: str, envelope: Envelope) -> None:
        number = partition_of(tenant.encode(), PARTITIONS)
        home = self.partitions[number]
        offset = home.ends[topic]
        home.ends[topic] = offset + 1
        at_ms = _START_MS + self.now_ms
        home.inbox.append(
            Record(topic, number, offset, at_ms, tenant.encode(), envelope.data, tuple(envelope.headers()))
        )
        if not home.busy:
            self._decide(home)

    def _decide(self, home: _Partition) -> None:
        records, home.inbox = home.inbox, []
        batch = decide_batch(home.state, records, home.rules, _START_MS + self.now_ms, self._snapshot())
        if batch.empty:
            return
        home.busy = True

        def committed() -> None:
            for out in batch.messages:
                if out.topic.startswith(_JOBS):
                    self._deliver(out)
            home.busy = False
            if home.inbox:
                self._decide(home)

        self._at(self.now_ms + _COMMIT_MS, committed)

    def _snapshot(self) -> Fleet:
        if self._fleet is None:
            self._fleet = Fleet(dict(self._heard))
        return self._fleet

    def _deliver(self, out: Outgoing) -> None:
        if out.value is None or out.partition is None:
            return
        assigned = JobAssigned.model_validate_json(out.value)
        self.jobs[assigned.request_id].sent = next(self._sent)
        worker = self._reader[out.partition]
        worker.waiting.append((assigned, assigned.parameters.images))
        if not worker.running:
            self._begin(worker)

    def _begin(self, worker: SimulatedWorker) -> None:
        takes_ms, begun = worker.begin()
        self.busy_workers += 1
        self._waiting -= sum(pictures for _, pictures in worker.running)
        for assigned in begun:
            self.jobs[assigned.request_id].begun_ms = self.now_ms
        self._at(self.now_ms + takes_ms, lambda: self._end(worker, takes_ms))

    def _end(self, worker: SimulatedWorker, took_ms: int) -> None:
        ended = worker.end(took_ms)
        self.busy_workers -= 1
        if worker.waiting:
            self._begin(worker)
        for assigned in ended:
            self.jobs[assigned.request_id].ended_ms = self.now_ms
            self._at(self.now_ms + _COMMIT_MS, lambda one=assigned: self._report(worker.name, one))  # type: ignore[misc]

    def _report(self, worker: str, assigned: JobAssigned) -> None:
        event = JobSucceeded(
            tenant=assigned.tenant,
            request_id=assigned.request_id,
            attempt=assigned.attempt,
            worker=worker,
            weights_revision="r",
            outputs=[_output(index) for index in range(assigned.parameters.images)],
            manifest="m",
            engine_ms=1,
        )
        data = event.model_dump_json().encode()
        self._append(_TOPICS.outcomes, assigned.tenant, Envelope(assigned.request_id, JobSucceeded.TYPE, "bench", data))

    def _beat(self, worker: SimulatedWorker) -> None:
        heard = worker.beat(_START_MS + self.now_ms)
        self._at(self.now_ms + _HEARD_MS, lambda: self._hear(heard))
        self._at(self.now_ms + _BEAT_MS, lambda: self._beat(worker))

    def _admission_beats(self) -> None:
        demand = {
            f"{pool}/{home.rules.partition}": weight
            for home in self.partitions
            for pool, weight in demand_of(home.state, home.rules).items()
        }
        beat = Heartbeat(instance="admission", stage="admission", ready=True, demand=demand)
        self._hear(Heard(beat, _START_MS + self.now_ms))
        self._at(self.now_ms + _BEAT_MS, self._admission_beats)

    def _hear(self, heard: Heard) -> None:
        self._heard[heard.beat.instance] = heard
        self._fleet = None

    def _tick(self, number: int) -> None:
        home = self.partitions[number]
        if not home.busy:
            self._decide(home)
        self._at(self.now_ms + _TICK_MS, lambda: self._tick(number))


_JOBS = _TOPICS.jobs("")


def _catalog() -> Catalog:
    # One unit a picture: a step of 1024 x 1024.
    card = ModelCard(pipeline=Path(), defaults=Defaults(width=1024, height=1024, steps=1, guidance=0.0))
    return Catalog(models={MODEL: card})


def _request_id(number: int, at_ms: int) -> str:
    """A UUIDv7 of that moment, the same for the same number."""
    drawn = int.from_bytes(hashlib.sha256(str(number).encode()).digest()[:10], "big")
    bits = (at_ms << 80) | drawn
    bits = (bits & ~(0xF << 76)) | (0x7 << 76)
    return str(uuid.UUID(int=(bits & ~(0x3 << 62)) | (0x2 << 62)))


def _output(index: int) -> Output:
    return Output.model_construct(
        index=index, key="k", sha256="0" * 64, bytes=1, media_type="image/png", width=64, height=64, seed=index
    )
