"""Whole workers, in processes of their own, and what admission would say to them and hear from them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import psutil

from schemas.envelope import Envelope
from schemas.events import Event
from schemas.ids import event_id, new_id
from schemas.jobs import Control, JobAssigned, JobFailed, JobReleased, JobStarted, JobSucceeded
from schemas.requests import Parameters
from schemas.settings import Settings
from schemas.topics import Topics, TopicSpec
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
OUTCOMES: dict[str, type[Event]] = {one.TYPE: one for one in (JobStarted, JobReleased, JobSucceeded, JobFailed)}
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


def job(tenant: str = "acme", *, request_id: str | None = None, attempt: int = 1, **changes: Any) -> JobAssigned:
    return JobAssigned(
        tenant=tenant,
        request_id=request_id or new_id(),
        attempt=attempt,
        cost_milliunits=1,
        parameters=parameters(**changes),
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

    def record(self, assigned: JobAssigned, partition: int) -> Outgoing:
        envelope = Envelope(
            id=event_id(assigned.request_id, assigned.TYPE, assigned.attempt),
            type=assigned.TYPE,
            source="easel",
            subject=assigned.request_id,
            data=assigned.model_dump_json().encode(),
        )
        return Outgoing(self.topics.jobs("default"), envelope.data, None, envelope.headers(), partition)

    async def assign(self, *jobs: JobAssigned, partition: int | None = None) -> None:
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

    async def note(self, assigned: JobAssigned, min_attempt: int) -> None:
        """A note on the control topic."""
        event = Control(tenant=assigned.tenant, request_id=assigned.request_id, min_attempt=min_attempt)
        envelope = Envelope(
            id=event_id(event.request_id, event.TYPE, min_attempt),
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

    async def ends(self, count: int, *, within_s: float = 30.0) -> list[JobSucceeded | JobFailed]:
        """The terminal outcomes, once there are ``count``."""
        deadline = time.monotonic() + within_s
        while True:
            ends = [event for event in await self.outcomes() if isinstance(event, TERMINAL)]
            if len({event.request_id for event in ends}) >= count:
                return ends
            assert time.monotonic() < deadline, f"{len(ends)} of {count} jobs have ended within {within_s} s"
            await asyncio.sleep(0.1)

    async def dead_letters(self, count: int, *, within_s: float = 30.0) -> list[Record]:
        """What lies there, once there is so much."""
        deadline = time.monotonic() + within_s
        while len(found := await self.records(self.topics.dead_letters)) < count:
            assert time.monotonic() < deadline, f"{len(found)} of {count} dead letters within {within_s} s"
            await asyncio.sleep(0.1)
        return found

    async def until(self, kind: type[Event], count: int = 1, *, within_s: float = 30.0) -> list[Event]:
        """The outcomes of a kind, once there are ``count``."""
        deadline = time.monotonic() + within_s
        while True:
            found = [event for event in await self.outcomes() if isinstance(event, kind)]
            if len(found) >= count:
                return found
            assert time.monotonic() < deadline, f"{len(found)} of {count} {kind.__name__} within {within_s} s"
            await asyncio.sleep(0.05)


@dataclass
class WorkerProcess:
    """``python -m consumer.generation`` with these settings."""

    installation: Installation
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    port: int = 0

    def start(self) -> Self:
        self.port = free_port()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "consumer.generation"],
                env={**os.environ, **environment(self.installation.settings, self.port), **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def child(self) -> psutil.Process:
        """The engine's process."""
        (child,) = psutil.Process(self.pid).children()
        return child

    async def ready(self, within_s: float = 30.0) -> Self:
        await self.until(lambda: self.get("/health/ready")[0] == 200, within_s, "the worker is not ready")
        return self

    def get(self, path: str) -> tuple[int, str]:
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=2.0)
        except httpx.TransportError:
            return 0, ""
        return answer.status_code, answer.text

    def metric(self, name: str) -> float:
        """The sum of a metric's series."""
        lines = [line for line in self.get("/metrics")[1].splitlines() if line.startswith((f"{name}{{", f"{name} "))]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    async def ended(self, within_s: float = 20.0) -> int:
        """Its exit status."""
        assert self.process is not None
        process = self.process
        await self.until(lambda: process.poll() is not None, within_s, "the worker did not end")
        assert process.returncode is not None
        return process.returncode

    async def until(self, condition: Callable[[], bool], within_s: float, otherwise: str) -> None:
        deadline = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"{otherwise}:\n{self.log.read_text()[-6000:]}")
            await asyncio.sleep(0.05)

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
        if self.process is not None:
            self.process.wait(10)


def environment(settings: Settings, health_port: int) -> dict[str, str]:
    """The settings as a process reads them."""
    kafka, store = settings.kafka, settings.store
    assert store.access_key is not None
    assert store.secret_key is not None
    return {
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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def succeeded(ends: Sequence[JobSucceeded | JobFailed]) -> list[JobSucceeded]:
    """All of them, which must all be successes."""
    for end in ends:
        assert isinstance(end, JobSucceeded), end
    return [end for end in ends if isinstance(end, JobSucceeded)]
