"""Plays admission's and generation's part on the real topics, and keeps the keys of a small installation."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
from fastapi import FastAPI
from pydantic import SecretStr

from producer_api.server import serve
from schemas.connection import KafkaSettings
from schemas.envelope import Envelope
from schemas.errors import Code, ErrorBody, ErrorType
from schemas.events import (
    Accepted,
    CancelAccepted,
    Canceled,
    CancelRefused,
    Deleted,
    DeleteRefused,
    Duplicate,
    Event,
    Failed,
    GenerationStarted,
    GenerationStep,
    Priced,
    Rejected,
    Succeeded,
)
from schemas.ids import event_id
from schemas.outputs import Output, manifest_key, output_key
from schemas.settings import ApiSettings, Settings
from schemas.signing import Signer
from schemas.topics import Topics
from transport.kafka import Publisher
from transport.partitioning import partition_of
from transport.records import Ack, Outgoing, Record
from transport.tail import Tail
from transport.topics import ensure_topics
from transport.transactions import FencedProducer

SECRET = secrets.token_urlsafe(40)
ISSUER_SECRET = secrets.token_urlsafe(40)
TENANT, OTHER = "acme", "globex"
SIGNER = Signer(kid="acme-1", algorithm="HS256", key=SECRET.encode(), issuer=TENANT, audience="easel")


async def make_topics(kafka: KafkaSettings) -> Topics:
    """Every topic of an installation, under the prefix of a test."""
    topics = Topics(kafka.prefix)
    specs = topics.specs(
        partitions=kafka.partitions, jobs_partitions=kafka.jobs_partitions, replication=1, pools=["default"]
    )
    await ensure_topics(kafka, specs)
    return topics


def error(code: Code = Code.RATE_LIMITED, kind: ErrorType = ErrorType.RATE_LIMIT) -> ErrorBody:
    return ErrorBody(message="says the test", type=kind, code=code)


def accepted(id_: str, tenant: str = TENANT) -> Accepted:
    return Accepted(tenant=tenant, request_id=id_, model="easel-tiny", cost_milliunits=211, position=3, seed=7)


def duplicate(id_: str, state: str = "queued", *, conflict: bool = False, of: str | None = None) -> Duplicate:
    code = Code.IDEMPOTENCY_CONFLICT if of else Code.ID_CONFLICT
    body = error(code, ErrorType.INVALID_REQUEST) if conflict else None
    return Duplicate(tenant=TENANT, request_id=id_, state=state, of=of, error=body)


def rejected(id_: str, body: ErrorBody | None = None, *, retry_after_s: float | None = None) -> Rejected:
    return Rejected(tenant=TENANT, request_id=id_, error=body or error(), retry_after_s=retry_after_s)


def started(id_: str, attempt: int = 1) -> GenerationStarted:
    return GenerationStarted(tenant=TENANT, request_id=id_, attempt=attempt, steps=12)


def step(id_: str, number: int, attempt: int = 1) -> GenerationStep:
    return GenerationStep(tenant=TENANT, request_id=id_, attempt=attempt, step=number, steps=12)


def succeeded(id_: str, picture: bytes = b"a picture", tenant: str = TENANT) -> Succeeded:
    digest = hashlib.sha256(picture).hexdigest()
    output = Output(
        index=0,
        key=output_key(tenant, id_, 0, digest, "png"),
        sha256=digest,
        bytes=len(picture),
        media_type="image/png",
        width=96,
        height=96,
        seed=7,
    )
    return Succeeded(
        tenant=tenant,
        request_id=id_,
        attempt=1,
        model="easel-tiny",
        weights_revision="r1",
        outputs=[output],
        manifest=manifest_key(tenant, id_),
        cost_milliunits=211,
        refunded_milliunits=0,
        waited_ms=5,
        engine_ms=50,
        metadata={"post": "1234"},
    )


def failed(id_: str) -> Failed:
    body = error(Code.OUT_OF_MEMORY, ErrorType.SERVER)
    return Failed(tenant=TENANT, request_id=id_, attempt=1, error=body, cost_milliunits=0, refunded_milliunits=211)


def canceled(id_: str) -> Canceled:
    return Canceled(tenant=TENANT, request_id=id_, attempt=1, cost_milliunits=0, refunded_milliunits=211)


def priced(id_: str, body: ErrorBody | None = None) -> Priced:
    return Priced(
        tenant=TENANT, request_id=id_, model="easel-tiny", cost_milliunits=211, acceptable=body is None, error=body
    )


def cancel_accepted(id_: str, cancel_id: str = "", state: str = "running", tenant: str = TENANT) -> CancelAccepted:
    return CancelAccepted(tenant=tenant, request_id=id_, cancel_id=cancel_id, state=state)


def cancel_refused(id_: str, cancel_id: str = "") -> CancelRefused:
    body = error(Code.ALREADY_ENDED, ErrorType.INVALID_REQUEST)
    return CancelRefused(tenant=TENANT, request_id=id_, cancel_id=cancel_id, state="succeeded", error=body)


def deleted(id_: str, delete_id: str = "") -> Deleted:
    return Deleted(tenant=TENANT, request_id=id_, delete_id=delete_id, objects=2)


def delete_refused(id_: str, delete_id: str = "", code: Code = Code.NOT_ENDED) -> DeleteRefused:
    kind = ErrorType.NOT_FOUND if code == Code.NOT_FOUND else ErrorType.INVALID_REQUEST
    return DeleteRefused(tenant=TENANT, request_id=id_, delete_id=delete_id, state="x", error=error(code, kind))


class Announcer:
    """Writes results in transactions, and progress beside them, as the two stages do."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self.topics = Topics(kafka.prefix)
        self.publisher = Publisher(kafka, client_id="test")
        self._kafka = kafka
        self._producer = FencedProducer(kafka, transactional_id=f"{kafka.prefix}-announcer")

    async def __aenter__(self) -> Announcer:
        await self.publisher.start()
        await self._producer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.publisher.stop()
        await self._producer.close()

    async def say(self, *events: Event, number: int = 0) -> list[Ack]:
        """Decisions and endings, in one transaction."""
        return await self._producer.commit([self.result(event, number) for event in events], {}, "none")

    async def show(self, *events: Event) -> None:
        """Progress."""
        for event in events:
            number = getattr(event, "attempt", 0) * 1000 + getattr(event, "step", 0)
            record = _record(self.topics.progress, event, event.request_id, number)
            await self.publisher.publish(record)

    def result(self, event: Event, number: int = 0) -> Outgoing:
        return _record(self.topics.results, event, event.tenant, number)


def _record(topic: str, event: Event, key: str, number: int) -> Outgoing:
    envelope = Envelope(
        id=event_id(event.tenant, event.request_id, event.TYPE, number),
        type=event.TYPE,
        source="easel",
        subject=event.request_id,
        data=event.model_dump_json().encode(),
    )
    return Outgoing(topic, envelope.data, key=key.encode(), headers=envelope.headers())


async def answer_requests(kafka: KafkaSettings, announcer: Announcer, *events: Event) -> None:
    """Waits for the next request, and says ``events`` about it, whatever ids they were made with."""
    record = await next_request(kafka)
    id_ = Envelope.read(record.headers, record.value).id
    await announcer.say(*(event.model_copy(update={"request_id": id_}) for event in events))


async def answer_event(
    kafka: KafkaSettings, announcer: Announcer, event_type: str, *makers: Callable[[str, str], Event]
) -> Record:
    """Waits for the next event of a type, and says about it what ``makers`` make of its target and its own id."""
    async with asyncio.timeout(20), Tail(kafka, [Topics(kafka.prefix).requests]) as tail:
        async for batch in tail:
            for record in batch:
                envelope = Envelope.read(record.headers, record.value)
                if envelope.type == event_type:
                    target = json.loads(envelope.data).get("request_id", envelope.id)
                    await announcer.say(*(make(target, envelope.id) for make in makers))
                    return record
    raise AssertionError("the tail ended")


async def next_request(kafka: KafkaSettings) -> Record:
    """The first record of the requests topic."""
    async with asyncio.timeout(20), Tail(kafka, [Topics(kafka.prefix).requests]) as tail:
        async for batch in tail:
            return batch[0]
    raise AssertionError("the tail ended")


def home(kafka: KafkaSettings, tenant: str = TENANT) -> int:
    return partition_of(tenant.encode(), kafka.partitions)


@dataclass(frozen=True)
class Installation:
    """A tenants file with two tenants that have a key each for HTTP, and the API as an issuer."""

    settings: Settings
    keys: dict[str, str]

    def write(self, *, version: int = 1, without: str | None = None) -> None:
        """The file, in which the tenant ``without`` has no key any more."""
        tenants = "".join(
            f"  - id: {tenant}\n"
            + (
                f"    api_keys: [{{id: {tenant}-http, sha256: {hashlib.sha256(key.encode()).hexdigest()}}}]\n"
                if tenant != without
                else ""
            )
            for tenant, key in self.keys.items()
        )
        text = (
            f"version: {version}\ntenants:\n{tenants}issuers:\n  - id: easel-api\n    tenants: '*'\n"
            "    keys: [{kid: easel-api-1, alg: HS256, secret_file: api.secret}]\n"
        )
        self.settings.tenants.write_text(text)

    def headers(self, tenant: str = TENANT) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[tenant]}"}


def install(settings: Settings, folder: Path) -> Installation:
    """Keys and files of an installation in ``folder``, on the real parts of ``settings``."""
    (folder / "api.secret").write_text(ISSUER_SECRET)
    made = settings.model_copy(
        update={
            "tenants": folder / "tenants.yaml",
            "api": ApiSettings(
                signing_key=SecretStr(ISSUER_SECRET), state_file=folder / "state" / "api.sqlite", decision_wait_s=5.0
            ),
        }
    )
    found = Installation(made, {tenant: secrets.token_urlsafe(32) for tenant in (TENANT, OTHER)})
    found.write()
    return found


@contextlib.asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """The app behind a real server on a free port, and a client for it."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = asyncio.Event()
    running = asyncio.create_task(serve(app, listener, stop))
    host, port = listener.getsockname()
    try:
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}", timeout=20) as client:
            yield client
    finally:
        stop.set()
        await asyncio.wait_for(running, 20)


async def until_ready(client: httpx.AsyncClient) -> None:
    """Until the app says that it can do its work."""
    async with asyncio.timeout(30):
        while (await client.get("/health/ready")).status_code != 200:  # noqa: ASYNC110 - it is another process's
            await asyncio.sleep(0.05)
