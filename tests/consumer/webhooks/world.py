"""The topics of one test, tenants with webhooks, and results as admission would publish them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from consumer.webhooks.schedule import Schedule
from consumer.webhooks.service import Webhooks
from ops.dead_letters.letters import Letter
from ops.dead_letters.reading import Selection, read_letters
from ops.local.ports import free_port
from schemas.connection import KafkaSettings
from schemas.envelope import Envelope
from schemas.events import Canceled, Event
from schemas.ids import event_id, new_id
from schemas.settings import OutboundSettings, Settings, WebhooksSettings
from schemas.topics import Topics
from schemas.webhook_entries import make_secret
from tests.until import until
from transport.kafka import Publisher
from transport.partitioning import partition_of
from transport.records import Outgoing
from transport.topics import ensure_topics

LOCAL = OutboundSettings(ports="any", allow="127.0.0.0/8", plain_http=True)


@dataclass
class World:
    settings: Settings
    topics: Topics
    folder: Path
    version: int = 0
    secrets: dict[str, str] = field(default_factory=dict)

    @classmethod
    async def make(
        cls, kafka: KafkaSettings, folder: Path, *, outbound: OutboundSettings = LOCAL, partitions: int = 1, **more: Any
    ) -> Self:
        kafka = kafka.model_copy(update={"partitions": partitions})
        settings = Settings(
            kafka=kafka,
            tenants=folder / "tenants.yaml",
            outbound=outbound,
            webhooks=WebhooksSettings(health_port=free_port(), session_timeout_s=3.0, **more),
        )
        topics = Topics(kafka.prefix)
        specs = topics.specs(partitions=kafka.partitions, jobs_partitions=1, replication=1, pools=[], own_topics=[])
        await ensure_topics(kafka, specs)
        return cls(settings, topics, folder)

    def secret(self, name: str) -> str:
        """A secret in a file of that name."""
        if name not in self.secrets:
            self.secrets[name] = make_secret()
            (self.folder / name).write_text(self.secrets[name] + "\n")
        return self.secrets[name]

    def write(self, tenants: Mapping[str, Mapping[str, Any]]) -> None:
        """tenants.yaml anew, with a higher version."""
        self.version += 1
        content = [{"id": name, **entry} for name, entry in tenants.items()]
        # JSON is YAML too.
        self.settings.tenants.write_text(json.dumps({"version": self.version, "tenants": content}))

    def endpoint(self, name: str, url: str, *secrets: str, **more: Any) -> dict[str, Any]:
        names = secrets or (f"{name}.secret",)
        for one in names:
            self.secret(one)
        return {"name": name, "url": url, "secrets": [{"secret_file": one} for one in names], **more}

    async def publish(
        self, tenant: str = "acme", count: int = 1, *, webhook: str | None = None, kind: type[Event] = Canceled
    ) -> list[str]:
        """Results of so many requests. Returns the ids of the events."""
        outs = [self.result(tenant, webhook=webhook, kind=kind) for _ in range(count)]
        async with Publisher(self.settings.kafka, client_id="test") as publisher:
            for written in await publisher.publish_all(outs, timeout_s=30.0):
                assert not isinstance(written, Exception)
        return [dict(out.headers)["ce_id"].decode() for out in outs if out.value]  # type: ignore[union-attr]

    def result(self, tenant: str, *, webhook: str | None = None, kind: type[Event] = Canceled) -> Outgoing:
        request_id = new_id()
        event = kind.model_validate(
            {
                "tenant": tenant,
                "request_id": request_id,
                "attempt": 1,
                "cost_milliunits": 5,
                "refunded_milliunits": 7,
                "metadata": {"post": "日本"},
                "model": "m",
                "position": 0,
                "seed": 1,
            }
        )
        envelope = Envelope(
            id=event_id(tenant, request_id, event.TYPE),
            type=event.TYPE,
            source="easel",
            subject=request_id,
            time="2026-11-21T12:00:00.000+00:00",
            traceparent=f"00-{request_id.replace('-', '')}-00f067aa0ba902b7-01",
            data=event.model_dump_json().encode(),
            extensions={} if webhook is None else {"webhook": webhook},
        )
        home = partition_of(tenant.encode(), self.settings.kafka.partitions)
        return Outgoing(self.topics.results, envelope.data, tenant.encode(), envelope.headers(), home)

    @asynccontextmanager
    async def serving(self, schedule: Schedule | None = None) -> Any:
        """The stage in this process, ready."""
        # Each instance has a health port of its own.
        own = self.settings.webhooks.model_copy(update={"health_port": 0})
        settings = self.settings.model_copy(update={"webhooks": own})
        stage = Webhooks(settings, schedule=schedule or Schedule(3600.0, (0.2,)))
        stop = asyncio.Event()
        task = asyncio.create_task(stage.run(stop))
        try:
            await until(lambda: stage.readiness().ready or task.done())
            yield stage
        finally:
            stop.set()
            await task

    async def letters(self, count: int, *, within_s: float = 20.0) -> list[Letter]:
        """The dead letters, once there are so many."""
        deadline = time.monotonic() + within_s
        while True:
            found = [letter async for letter in read_letters(self.settings.kafka, Selection())]
            if len(found) >= count:
                return found
            assert time.monotonic() < deadline, f"{len(found)} dead letters after {within_s} s"
            await asyncio.sleep(0.1)


def tenant(*endpoints: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"webhooks": list(endpoints), **more}


def own(url: str, events: Iterable[str] = ("canceled",)) -> str:
    """The header of a request's own webhook."""
    return json.dumps({"url": url, "events": list(events)})
