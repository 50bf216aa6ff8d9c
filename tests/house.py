"""A whole installation for one test: topics, keys, models, and its stages as processes of their own."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from consumer.admission.init import initialise
from consumer.admission.ledger import Restored, restore
from ops.local.ports import free_port
from schemas.catalog import load_catalog
from schemas.envelope import Envelope
from schemas.ids import new_id
from schemas.requests import GenerationRequest
from schemas.settings import Settings
from schemas.signing import Signer
from schemas.tenants import load_tenants
from schemas.topics import Topics
from tests.consumer.generation.harness import environment, write_null_models
from tests.stage import Stage
from transport.kafka import Publisher
from transport.partitioning import partition_of
from transport.records import Outgoing, Record
from transport.tail import read_partition

TERMINAL = {"generation.succeeded", "generation.failed", "generation.canceled"}


@dataclass
class House:
    """The installation, and what has been said on its topics."""

    settings: Settings
    topics: Topics
    keys: dict[str, ed25519.Ed25519PrivateKey]
    folder: Path
    stages: list[Stage] = field(default_factory=list)
    signed_in: Mapping[str, Settings] = field(default_factory=dict)
    """What a stage has instead of the house's own settings, where each signs in as another user."""
    own_topics: bool = False

    @classmethod
    async def build(
        cls,
        settings: Settings,
        folder: Path,
        *,
        tenants: Iterable[str] = ("acme", "bolt", "cord"),
        models: Path | None = None,
        limits: Mapping[str, Any] | None = None,
        own_topics: bool = False,
    ) -> Self:
        """Write the files, make the topics."""
        keys = {name: ed25519.Ed25519PrivateKey.generate() for name in tenants}
        house = cls(
            settings.model_copy(
                update={"models": models or write_null_models(folder), "tenants": folder / "tenants.yaml"}
            ),
            Topics(settings.kafka.prefix),
            keys,
            folder,
            own_topics=own_topics,
        )
        house.write_tenants(1, limits or {})
        await initialise(house.settings, load_catalog(house.settings.models), load_tenants(house.settings.tenants))
        return house

    def write_tenants(self, version: int, limits: Mapping[str, Any]) -> None:
        tenants = [
            {
                "id": name,
                "limits": dict(limits),
                "own_topic": self.own_topics,
                "keys": [
                    {
                        "kid": f"{name}-1",
                        "alg": "EdDSA",
                        "public_key": key.public_key()
                        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
                        .decode(),
                    }
                ],
            }
            for name, key in self.keys.items()
        ]
        # JSON is YAML too.
        self.settings.tenants.write_text(json.dumps({"version": version, "tenants": tenants}))

    def signer(self, who: str) -> Signer:
        return Signer(f"{who}-1", "EdDSA", self.keys[who], who, self.settings.installation)

    def request(
        self, who: str = "acme", *, name: str | None = None, partition: int | None = None, **fields: Any
    ) -> Outgoing:
        """A signed request event, on its tenant's partition unless another is named."""
        name = name or new_id()
        data = json.dumps({"prompt": "a red circle", "model": "nothing", **fields}).encode()
        token = self.signer(who).sign(
            tenant=who, event_type=GenerationRequest.TYPE, event_id=name, body=data, now_s=time.time()
        )
        envelope = Envelope(id=name, type=GenerationRequest.TYPE, source="test", data=data, signature=token)
        home = partition_of(who.encode(), self.settings.kafka.partitions)
        return Outgoing(
            self.topics.requests, data, who.encode(), envelope.headers(), home if partition is None else partition
        )

    async def publish(self, *records: Outgoing) -> None:
        async with Publisher(self.settings.kafka, client_id="test") as publisher:
            await asyncio.gather(*(publisher.publish(record, timeout_s=60.0) for record in records))

    def admission(self, *, instance_id: str | None = None, **more: str) -> Stage:
        extra = {"EASEL_ADMISSION_SESSION_TIMEOUT_S": "3", **more}
        if instance_id is not None:
            extra["EASEL_ADMISSION_INSTANCE_ID"] = instance_id
        return self._stage("admission", extra)

    def worker(self, **more: str) -> Stage:
        return self._stage("generation", {"EASEL_GENERATION_SESSION_TIMEOUT_S": "3", **more})

    def webhooks(self, **more: str) -> Stage:
        """The webhooks stage, which may post to this machine."""
        local = {"PORTS": "any", "ALLOW": "127.0.0.0/8", "PLAIN_HTTP": "true"}
        outbound = {f"EASEL_OUTBOUND_{name}": value for name, value in local.items()}
        return self._stage("webhooks", {"EASEL_WEBHOOKS_SESSION_TIMEOUT_S": "3", **outbound, **more})

    async def read(self, topic: str, partitions: int | None = None) -> list[Record]:
        """Everything on a topic that a read_committed reader sees."""
        found: list[Record] = []
        for number in range(partitions or self.settings.kafka.partitions):
            async for batch in read_partition(self.settings.kafka, topic, number):
                found += batch
        return found

    async def events(self, topic: str) -> list[dict[str, Any]]:
        """The events on a topic, with the short name of their type as ``kind`` and their id as ``ce_id``."""
        return [told(record) for record in await self.read(topic)]

    async def results(self) -> list[dict[str, Any]]:
        return await self.events(self.topics.results)

    async def until(
        self, enough: Callable[[list[dict[str, Any]]], bool], *, within_s: float = 60.0
    ) -> list[dict[str, Any]]:
        """The results, once they are enough."""
        deadline = time.monotonic() + within_s
        while True:
            results = await self.results()
            if enough(results):
                return results
            assert time.monotonic() < deadline, (
                f"after {within_s} s: {Counter(one['kind'] for one in results)}\n" + self.logs()
            )
            await asyncio.sleep(0.1)

    async def until_ended(self, count: int, *, within_s: float = 90.0) -> list[dict[str, Any]]:
        """The results, once ``count`` requests have ended."""
        return await self.until(
            lambda results: len({r["request_id"] for r in results if r["kind"] in TERMINAL}) >= count, within_s=within_s
        )

    async def until_log(self, stage: Stage, event: str, *, times: int = 1, within_s: float = 40.0) -> None:
        """Wait until a stage has logged ``event`` so many times."""
        deadline = time.monotonic() + within_s
        while stage.log.read_text().count(f'"event": "{event}"') < times:
            assert time.monotonic() < deadline, self.logs()
            await asyncio.sleep(0.05)

    async def ledger(self, partition: int) -> Restored:
        """A partition's ledger, as a service would restore it."""
        return await restore(read_partition(self.settings.kafka, self.topics.ledger, partition))

    async def require_balance(self) -> None:
        """Usage events, ledgers and results say the same, to the unit; every accepted request has ended once."""
        results = await self.results()
        usage = await self.events(self.topics.usage)
        assert len({one["ce_id"] for one in usage}) == len(usage)
        terminal = [one for one in results if one["kind"] in TERMINAL]
        accepted = [one for one in results if one["kind"] == "generation.accepted"]
        names = Counter((one["tenant"], one["request_id"]) for one in terminal)
        assert set(names.values()) <= {1}, "a request has ended twice"
        assert set(names) == {(one["tenant"], one["request_id"]) for one in accepted}
        assert len(accepted) == len(names), "a request was accepted twice"
        for who in self.keys:

            def moved(kind: str, who: str = who) -> int:
                return sum(one["milliunits"] for one in usage if (one["tenant"], one["kind"]) == (who, f"usage.{kind}"))

            mine = [one for one in terminal if one["tenant"] == who]
            assert moved("held") == sum(one["cost_milliunits"] for one in accepted if one["tenant"] == who)
            assert moved("settled") == sum(one["cost_milliunits"] for one in mine)
            assert moved("refunded") == sum(one["refunded_milliunits"] for one in mine)
            assert moved("held") == moved("settled") + moved("refunded")
            home = partition_of(who.encode(), self.settings.kafka.partitions)
            days = (await self.ledger(home)).state.account(who).days.values()
            for kind in ("held", "settled", "refunded"):
                assert sum(getattr(day, kind) for day in days) == moved(kind)

    def logs(self) -> str:
        return "\n".join(f"--- {stage.log.name}\n{stage.log.read_text()[-3000:]}" for stage in self.stages)

    def close(self) -> None:
        for stage in self.stages:
            stage.kill()

    def _stage(self, name: str, extra: Mapping[str, str]) -> Stage:
        port = free_port()
        settings = self.signed_in.get(name, self.settings)
        files = {"models": self.settings.models, "tenants": self.settings.tenants}
        stage = Stage(
            name,
            self.folder / f"{name}-{len(self.stages)}.log",
            port,
            {
                **environment(settings.model_copy(update=files), port),
                "EASEL_TENANTS": str(self.settings.tenants),
                f"EASEL_{name.upper()}_HEALTH_PORT": str(port),
                **extra,
            },
        )
        self.stages.append(stage)
        return stage.start()


def told(record: Record) -> dict[str, Any]:
    """A record's event."""
    headers = dict(record.headers)
    kind = (headers.get("ce_type") or b"").decode().removeprefix("easel.").removesuffix(".v1")
    content = json.loads(record.value) if record.value else {}
    return {**content, "kind": kind, "ce_id": (headers.get("ce_id") or b"").decode(), "partition_": record.partition}
