"""Whole workers, in processes of their own, and what admission would say to them and hear from them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil

from ops.local.ports import free_port
from schemas.envelope import Envelope
from schemas.events import Event, GenerationStep
from schemas.fleet import Heartbeat
from schemas.ids import event_id, new_id
from schemas.jobs import (
    Control,
    DeleteAssigned,
    JobAssigned,
    JobCanceled,
    JobDeleted,
    JobFailed,
    JobReleased,
    JobStarted,
    JobSucceeded,
)
from schemas.requests import Parameters
from schemas.settings import Settings
from schemas.topics import Topics, TopicSpec
from tests.stage import Stage
from transport.kafka import Publisher
from transport.partitioning import partition_of
from transport.records import Outgoing, Record
from transport.tail import read_partition
from transport.topics import ensure_topics
from transport.transactions import FencedProducer

NULL_MODELS = """
models:
  nothing:
    pipeline: .
    engine: "null"
    attempts: {attempts}
    max_batch_images: {budget}
    defaults: {{width: 64, height: 64, steps: 4}}
"""
OUTCOMES: dict[str, type[Event]] = {
    one.TYPE: one for one in (JobStarted, JobReleased, JobSucceeded, JobFailed, JobCanceled, JobDeleted)
}
TERMINAL = (JobSucceeded, JobFailed)


def write_null_models(folder: Path, *, attempts: int = 3, budget: int = 8) -> Path:
    path = folder / "models.yaml"
    path.write_text(NULL_MODELS.format(attempts=attempts, budget=budget))
    return path


def parameters(**changes: Any) -> Parameters:
    given = {
        "model": "nothing",
        "prompt": "a red circle",
        "images": 1,
        "width": 64,
        "height": 64,
        "steps": 4,
        "guidance": 0.0,
        "seed": 7,
    }
    return Parameters(**{**given, **changes})


def job(
    tenant: str = "acme", *, request_id: str | None = None, attempt: int = 1, alone: bool = False, **changes: Any
) -> JobAssigned:
    asked = parameters(**changes)
    return JobAssigned(
        tenant=tenant,
        request_id=request_id or new_id(),
        attempt=attempt,
        alone=alone,
        cost_milliunits=1,
        work_milliunits=asked.images * asked.steps * 100,
        parameters=asked,
    )


@dataclass
class Installation:
    """The topics of one test, its store, and its models; what admission does is done by hand."""

    settings: Settings
    topics: Topics
    _sent: int = 0

    @classmethod
    async def make(cls, settings: Settings, models: Path) -> Self:
        made = cls(settings.model_copy(update={"models": models}), Topics(settings.kafka.prefix))
        await ensure_topics(settings.kafka, made.specs())
        return made

    def specs(self) -> list[TopicSpec]:
        kafka = self.settings.kafka
        return self.topics.specs(
            partitions=kafka.partitions,
            jobs_partitions=kafka.jobs_partitions,
            replication=kafka.replication,
            pools=["default"],
        )

    def record(self, assigned: JobAssigned | DeleteAssigned, partition: int) -> Outgoing:
        envelope = Envelope(
            id=event_id(assigned.tenant, assigned.request_id, assigned.TYPE, assigned.attempt),
            type=assigned.TYPE,
            source="easel",
            subject=assigned.request_id,
            data=assigned.model_dump_json().encode(),
        )
        return Outgoing(self.topics.jobs("default"), envelope.data, None, envelope.headers(), partition)

    async def assign(self, *jobs: JobAssigned | DeleteAssigned, partition: int | None = None) -> None:
        """Write jobs as admission does: in one transaction, which leaves its markers between the offsets."""
        records = []
        for assigned in jobs:
            chosen = self._sent % self.settings.kafka.jobs_partitions if partition is None else partition
            records.append(self.record(assigned, chosen))
            self._sent += 1
        await self.write(*records)

    async def write(self, *records: Outgoing) -> None:
        producer = FencedProducer(self.settings.kafka, transactional_id=f"{self.settings.kafka.prefix}-test")
        await producer.start()
        try:
            await producer.commit(list(records), {}, self.topics.group("test"))
        finally:
            await producer.close()

    async def note(
        self, assigned: JobAssigned, min_attempt: int, *, canceled: bool = False, alone: bool = False
    ) -> None:
        """A note on the control topic."""
        event = Control(
            tenant=assigned.tenant,
            request_id=assigned.request_id,
            min_attempt=min_attempt,
            canceled=canceled,
            alone=alone,
        )
        envelope = Envelope(
            id=event_id(event.tenant, event.request_id, event.TYPE, min_attempt),
            type=event.TYPE,
            source="easel",
            subject=event.request_id,
            data=event.model_dump_json().encode(),
        )
        async with Publisher(self.settings.kafka, client_id="test") as publisher:
            await publisher.publish(
                Outgoing(self.topics.control, envelope.data, event.request_id.encode(), envelope.headers())
            )

    async def records(self, topic: str, partitions: int | None = None) -> list[Record]:
        found: list[Record] = []
        for number in range(partitions or self.settings.kafka.partitions):
            async for batch in read_partition(self.settings.kafka, topic, number):
                found += batch
        return found

    async def outcomes(self) -> list[Event]:
        """Every outcome so far, in order for each tenant; each on the partition of its tenant."""
        found = []
        for record in await self.records(self.topics.outcomes):
            envelope = Envelope.read(record.headers, record.value)
            event = OUTCOMES[envelope.type].model_validate_json(envelope.data)
            assert record.partition == partition_of(event.tenant.encode(), self.settings.kafka.partitions)
            found.append(event)
        return found

    async def ends(self, count: int, *, within_s: float = 60.0) -> list[JobSucceeded | JobFailed]:
        """The terminal outcomes, once there are ``count``."""
        deadline = time.monotonic() + within_s
        while True:
            ends = [event for event in await self.outcomes() if isinstance(event, TERMINAL)]
            if len({(event.tenant, event.request_id) for event in ends}) >= count:
                return ends
            assert time.monotonic() < deadline, f"{len(ends)} of {count} jobs have ended within {within_s} s"
            await asyncio.sleep(0.1)

    async def stepped(self, assigned: JobAssigned | None = None, *, attempts: int = 1, within_s: float = 60.0) -> None:
        """Wait until so many attempts at a job, or at any, have made their first step: the engine has them."""
        deadline = time.monotonic() + within_s
        while True:
            records = await self.records(self.topics.progress)
            events = [
                GenerationStep.model_validate_json(record.value or b"")
                for record in records
                if dict(record.headers)["ce_type"] == GenerationStep.TYPE.encode()
            ]
            wanted = {event.request_id for event in events} if assigned is None else {assigned.request_id}
            if sum(event.step == 1 and event.request_id in wanted for event in events) >= attempts:
                return
            assert time.monotonic() < deadline, f"no step of {attempts} attempts within {within_s} s"
            await asyncio.sleep(0.05)

    async def heartbeats(self) -> dict[str, Heartbeat]:
        """The last word of each instance that has not left."""
        last: dict[str, Heartbeat] = {}
        for record in await self.records(self.topics.fleet, 1):
            instance = (record.key or b"").decode()
            last.pop(instance, None)
            if record.value is not None:
                last[instance] = Heartbeat.model_validate_json(record.value)
        return last

    async def dead_letters(self, count: int, *, within_s: float = 60.0) -> list[Record]:
        """What lies there, once there is so much."""
        deadline = time.monotonic() + within_s
        while len(found := await self.records(self.topics.dead_letters)) < count:
            assert time.monotonic() < deadline, f"{len(found)} of {count} dead letters within {within_s} s"
            await asyncio.sleep(0.1)
        return found

    async def until(self, kind: type[Event], count: int = 1, *, within_s: float = 60.0) -> list[Event]:
        """The outcomes of a kind, once there are ``count``."""
        deadline = time.monotonic() + within_s
        while True:
            found = [event for event in await self.outcomes() if isinstance(event, kind)]
            if len(found) >= count:
                return found
            assert time.monotonic() < deadline, f"{len(found)} of {count} {kind.__name__} within {within_s} s"
            await asyncio.sleep(0.05)


class WorkerProcess(Stage):
    """A worker with these settings."""

    def __init__(self, installation: Installation, log: Path, more: Mapping[str, str] | None = None) -> None:
        port = free_port()
        super().__init__("generation", log, port, {**environment(installation.settings, port), **(more or {})})


def environment(settings: Settings, health_port: int) -> dict[str, str]:
    """The settings as a process reads them."""
    kafka, store = settings.kafka, settings.store
    assert store.access_key is not None
    assert store.secret_key is not None
    secured: dict[str, str] = {}
    if kafka.security_protocol == "SASL_SSL" and kafka.password is not None:
        secured = {
            "EASEL_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "EASEL_KAFKA_CA_FILE": str(kafka.ca_file),
            "EASEL_KAFKA_USERNAME": str(kafka.username),
            "EASEL_KAFKA_PASSWORD": kafka.password.get_secret_value(),
            "EASEL_STORE_SECURE": "true",
            "EASEL_STORE_CA_FILE": str(store.ca_file),
        }
    return {
        **secured,
        "EASEL_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "EASEL_KAFKA_PREFIX": kafka.prefix,
        "EASEL_KAFKA_PARTITIONS": str(kafka.partitions),
        "EASEL_KAFKA_JOBS_PARTITIONS": str(kafka.jobs_partitions),
        "EASEL_STORE_ENDPOINT": store.endpoint,
        "EASEL_STORE_BUCKET": store.bucket,
        "EASEL_STORE_ACCESS_KEY": store.access_key.get_secret_value(),
        "EASEL_STORE_SECRET_KEY": store.secret_key.get_secret_value(),
        "EASEL_MODELS": str(settings.models),
        "EASEL_GENERATION_SESSION_TIMEOUT_S": "3",
        "EASEL_GENERATION_HEALTH_PORT": str(health_port),
    }


def succeeded(ends: Sequence[JobSucceeded | JobFailed]) -> list[JobSucceeded]:
    """All of them, which must all be successes."""
    for end in ends:
        assert isinstance(end, JobSucceeded), end
    return [end for end in ends if isinstance(end, JobSucceeded)]


@contextlib.contextmanager
def little_memory(mib: int, pid: int | None = None) -> Iterator[None]:
    """A process, or ours, gets no more than so much beside what it has."""
    process = psutil.Process(pid)
    before = process.rlimit(psutil.RLIMIT_AS)
    process.rlimit(psutil.RLIMIT_AS, (process.memory_info().vms + mib * 2**20, before[1]))
    try:
        yield
    finally:
        process.rlimit(psutil.RLIMIT_AS, before)
