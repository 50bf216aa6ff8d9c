"""A small installation in memory: three tenants, one model, signed records, and what was said about them."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

from consumer.admission.batch import Batch, decide_batch
from consumer.admission.fleet_view import NO_FLEET, Fleet, Heard
from consumer.admission.ledger import Restored
from consumer.admission.rules import Rules
from consumer.admission.state import PartitionState
from schemas.catalog import Catalog, Defaults, ModelCard, ModelLimits
from schemas.envelope import Envelope, Headers
from schemas.errors import Code, ErrorBody, ErrorType
from schemas.fleet import Heartbeat, HeldJob
from schemas.jobs import JobCanceled, JobFailed, JobReleased, JobStarted, JobSucceeded, Outcome
from schemas.outputs import Output
from schemas.prompt_rules import PromptRule
from schemas.requests import CancelRequest, GenerationRequest
from schemas.signing import IDEMPOTENCY_KEY, KeyEntry, Signer
from schemas.tenants import Directory, Limits, Tenant
from schemas.topics import Topics
from transport.partitioning import partition_of
from transport.records import Outgoing, Record

NOON_MS = 1_795_262_400_000
"""2026-11-21 12:00 UTC."""
PARTITIONS = 4
TOPICS = Topics("t")
WHAT_A_TENANT_WROTE = "a bug"
"""What the exception says that ``broken`` raises."""


def secret(tenant: str) -> bytes:
    return hashlib.sha256(f"secret of {tenant}".encode()).digest()


def directory(*tenants: Tenant, version: int = 1, prompt_rules: tuple[PromptRule, ...] = ()) -> Directory:
    """These tenants, each with one HS256 key named after it."""
    return Directory(
        version=version,
        tenants={tenant.id: tenant for tenant in tenants},
        keys={t.id: KeyEntry(t.id, "HS256", t.id, frozenset({t.id}), secret(t.id)) for t in tenants},
        api_keys={},
        prompt_rules=prompt_rules,
    )


def catalog() -> Catalog:
    """One model, at exactly one unit a picture by default: four steps of 512x512 without guidance."""
    card = ModelCard(
        pipeline=Path("nowhere"),
        defaults=Defaults(width=512, height=512, steps=4, guidance=0.0),
        limits=ModelLimits(min_side=64, max_side=1024, steps=50),
    )
    able = card.model_copy(update={"kinds": ("text_to_image", "image_to_image", "inpainting")})
    return Catalog(models={"m": able, "other": card.model_copy(update={"pool": "big", "cost_factor": Decimal(3)})})


def rules(
    *tenants: Tenant,
    partition: int | None = None,
    window: int = 8,
    version: int = 1,
    prompt_rules: tuple[PromptRule, ...] = (),
    **more: Any,
) -> Rules:
    """The rules of the partition at home to the first tenant, unless another is named."""
    home = partition_of(tenants[0].id.encode(), PARTITIONS) if partition is None else partition
    return Rules(
        installation="easel",
        topics=TOPICS,
        partition=home,
        partitions=PARTITIONS,
        jobs_partitions=4,
        window_jobs=window,
        catalog=catalog(),
        directory=directory(*tenants, version=version, prompt_rules=prompt_rules),
        **more,
    )


def tenant(
    name: str = "acme", *, status: Any = "active", models: list[str] | None = None, weight: int = 1, **limits: Any
) -> Tenant:
    return Tenant(id=name, status=status, models=models, weight=weight, limits=Limits(**limits))


def neighbours(count: int) -> list[str]:
    """Names of tenants that live on one partition."""
    names = (f"tenant-{number}" for number in range(10_000))
    return list(islice((name for name in names if partition_of(name.encode(), PARTITIONS) == 1), count))


def request_id(number: int, at_ms: int = NOON_MS) -> str:
    """The UUIDv7 of a moment, the same for the same number."""
    tail = hashlib.sha256(str(number).encode()).digest()[:10]
    bits = (at_ms << 80) | int.from_bytes(tail, "big")
    bits = (bits & ~(0xF << 76)) | (0x7 << 76)
    bits = (bits & ~(0x3 << 62)) | (0x2 << 62)
    return str(uuid.UUID(int=bits))


@dataclass
class World:
    """A partition's memory, and the records that reach it one after the other."""

    rules: Rules
    state: PartitionState = field(default_factory=PartitionState)
    now_ms: int = NOON_MS
    fleet: Fleet = NO_FLEET
    said: list[Outgoing] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    ledger: dict[bytes, bytes | None] = field(default_factory=dict)
    _ends: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.rules.inputs.values():
            self.state.next_offsets.setdefault(name, 0)

    def record(self, topic: str, value: bytes | None, headers: Headers, **changes: Any) -> Record:
        """The next record of a topic."""
        offset = self._ends.get(topic, 0)
        self._ends[topic] = offset + 1
        content = {
            "topic": topic,
            "partition": self.rules.partition,
            "offset": offset,
            "timestamp_ms": self.now_ms,
            "key": None,
            "value": value,
            "headers": tuple(headers),
        }
        return Record(**{**content, **changes})

    def request(
        self,
        number: int = 1,
        *,
        who: str = "acme",
        topic: str | None = None,
        kind: str = GenerationRequest.TYPE,
        event_id: str | None = None,
        body: bytes | None = None,
        at_ms: int | None = None,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> Record:
        """A signed request event."""
        data = json.dumps({"prompt": "a red circle", "model": "m", **fields}).encode() if body is None else body
        name = request_id(number, self.now_ms) if event_id is None else event_id
        signer = Signer(kid=who, algorithm="HS256", key=secret(who), issuer=who, audience="easel")
        token = signer.sign(
            tenant=who,
            event_type=kind,
            event_id=name,
            body=data,
            now_s=(at_ms or self.now_ms) / 1000,
            idempotency_key=idempotency_key,
        )
        extensions = {} if idempotency_key is None else {IDEMPOTENCY_KEY: idempotency_key}
        envelope = Envelope(id=name, type=kind, source="test", data=data, signature=token, extensions=extensions)
        return self.record(topic or TOPICS.requests, data, envelope.headers())

    def cancel(self, number: int, target: str, *, who: str = "acme", **more: Any) -> Record:
        """A signed cancel, with an id of its own."""
        body = json.dumps({"request_id": target}).encode()
        return self.request(number, who=who, kind=CancelRequest.TYPE, body=body, **more)

    def outcome(self, event: Outcome) -> Record:
        """A report of the fleet."""
        envelope = Envelope(id=str(uuid.uuid4()), type=event.TYPE, source="test", data=event.model_dump_json().encode())
        return self.record(TOPICS.outcomes, envelope.data, envelope.headers())

    def take(self, *records: Record, now_ms: int | None = None) -> list[dict[str, Any]]:
        """Decide these records as one batch; what was said, as JSON with its topic and type."""
        batch = decide_batch(self.state, records, self.rules, now_ms or self.now_ms, self.fleet)
        self.batches.append(batch)
        self.said += batch.messages
        for out in batch.outgoing(self.state, self.rules):
            if out.topic == TOPICS.ledger:
                assert out.key is not None
                self.ledger[out.key] = out.value
        return [told(out) for out in batch.messages]

    def restart(self) -> None:
        """All memory is lost, and read back from the ledger."""
        restored = Restored()
        restored.read(
            Record(TOPICS.ledger, self.rules.partition, offset, 0, key, value, ())
            for offset, (key, value) in enumerate(reversed(self.ledger.items()))
        )
        restored.finish()
        self.state = restored.state


def told(out: Outgoing) -> dict[str, Any]:
    """A message as JSON, with the short name of its topic and of its type."""
    headers = dict(out.headers)
    kind = (headers.get("ce_type") or b"").decode().removeprefix("easel.").removesuffix(".v1")
    content = json.loads(out.value) if out.value else {}
    return {**content, "sent_to": out.topic.removeprefix("t."), "kind": kind}


def succeeded(name: str, pictures: int = 1, *, attempt: int = 1, who: str = "acme", worker: str = "w") -> JobSucceeded:
    return JobSucceeded(
        tenant=who,
        request_id=name,
        attempt=attempt,
        worker=worker,
        weights_revision="r",
        outputs=[output(index) for index in range(pictures)],
        manifest="m",
        engine_ms=5,
    )


def failed(
    name: str,
    *,
    attempt: int = 1,
    who: str = "acme",
    retryable: bool = False,
    worker: str = "w",
    code: Code = Code.GENERATION_FAILED,
) -> JobFailed:
    error = ErrorBody(message="no", type=ErrorType.SERVER, code=code)
    return JobFailed(tenant=who, request_id=name, attempt=attempt, worker=worker, error=error, retryable=retryable)


def started(
    name: str, *, attempt: int = 1, who: str = "acme", worker: str = "w", alone: bool = False, start: int = 0
) -> JobStarted:
    return JobStarted(tenant=who, request_id=name, attempt=attempt, worker=worker, alone=alone, start=start)


def released(name: str, *, attempt: int = 1, who: str = "acme", worker: str = "w") -> JobReleased:
    return JobReleased(tenant=who, request_id=name, attempt=attempt, worker=worker)


def canceled(name: str, steps_run: int = 0, *, attempt: int = 1, who: str = "acme", worker: str = "w") -> JobCanceled:
    return JobCanceled(tenant=who, request_id=name, attempt=attempt, worker=worker, steps_run=steps_run)


def fleet_of(at_ms: int, **workers: Mapping[str, str]) -> Fleet:
    """Workers of the default pool, ready and just heard, each with the models and revisions that it reports."""
    return Fleet(
        {
            name: Heard(
                Heartbeat(instance=name, stage="generation", pool="default", ready=True, models=dict(models)), at_ms
            )
            for name, models in workers.items()
        }
    )


def fleet_with(at_ms: int, pool: str = "default", **held: list[tuple[str, int]]) -> Fleet:
    """Workers of a pool, ready and just heard, each with the ids and attempts that it names."""
    return Fleet(
        {
            name: Heard(
                Heartbeat(
                    instance=name,
                    stage="generation",
                    pool=pool,
                    ready=True,
                    partitions=[0],
                    held=[HeldJob("acme", request_id, attempt, "running") for request_id, attempt in jobs],
                ),
                at_ms,
            )
            for name, jobs in held.items()
        }
    )


def broken(*_: Any, **__: Any) -> Any:
    """In place of a part of the decision: a defect that a record brings to light."""
    raise RuntimeError(WHAT_A_TENANT_WROTE)


def output(index: int) -> Output:
    return Output(
        index=index, key=f"k{index}", sha256="0" * 64, bytes=1, media_type="image/png", width=64, height=64, seed=index
    )


def kinds(messages: Iterable[Mapping[str, Any]]) -> list[str]:
    return [message["kind"] for message in messages]
