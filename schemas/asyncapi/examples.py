"""One event of each kind, as it is on the wire. The shapes are the code's own, so that none is out of date."""

from __future__ import annotations

import hashlib
from typing import Any

from pydantic import BaseModel

from schemas.asyncapi.channels import Channel
from schemas.envelope import JSON, Envelope
from schemas.errors import Code, ErrorBody, ErrorType
from schemas.events import (
    Accepted,
    Balance,
    CancelAccepted,
    Canceled,
    CancelRefused,
    DeadLetter,
    DeadLetterReplayed,
    Deleted,
    DeleteRefused,
    Duplicate,
    Failed,
    GenerationStarted,
    GenerationStep,
    Limit,
    Priced,
    Rejected,
    Succeeded,
    UsageHeld,
    UsageRefunded,
    UsageSettled,
)
from schemas.ids import event_id
from schemas.outputs import Output, manifest_key, output_key
from schemas.previews import GenerationPreview
from schemas.requests import CancelRequest, DeleteRequest, GenerationRequest

__all__ = ["EXAMPLES", "REQUEST_ID", "TENANT", "example_headers", "example_key"]

TENANT = "acme"
REQUEST_ID = "019aa4d2-6c00-7000-8000-000000000001"
_OTHER_ID = "019aa4d2-7bb8-7000-8000-000000000002"
_SHA256 = hashlib.sha256(b"a picture").hexdigest()
_TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_TOKEN = "eyJ0eXAiOiJlYXNlbC1yZXF1ZXN0K2p3dCJ9.eyJpc3MiOiJhY21lIn0.c2lnbmF0dXJl"  # noqa: S105 - a placeholder
_WHO: dict[str, Any] = {"tenant": TENANT, "request_id": REQUEST_ID}


def _balance(period: str, limit: int | None) -> Balance:
    return Balance(period=period, held=3_000, settled=1_000, refunded=500, outstanding=1_500, limit=limit)


def _error(code: Code, kind: ErrorType, message: str, param: str | None = None) -> ErrorBody:
    return ErrorBody(message=message, type=kind, param=param, code=code)


def _moved(kind: type[UsageHeld | UsageSettled | UsageRefunded], milliunits: int) -> BaseModel:
    return kind(
        **_WHO,
        milliunits=milliunits,
        model="easel-tiny",
        day=_balance("2025-11-21", 1_000_000),
        month=_balance("2025-11", None),
    )


_ALL: tuple[BaseModel, ...] = (
    GenerationRequest(prompt="a red circle", model="easel-tiny", images=1, seed=7, metadata={"post": "4711"}),
    CancelRequest(request_id=REQUEST_ID),
    DeleteRequest(request_id=REQUEST_ID),
    Accepted(
        **_WHO,
        model="easel-tiny",
        cost_milliunits=211,
        position=0,
        seed=7,
        limits=[Limit(name="requests_per_minute", limit=60, remaining=59)],
        group="spring-issue",
        metadata={"post": "4711"},
    ),
    Rejected(
        **_WHO,
        error=_error(Code.RATE_LIMITED, ErrorType.RATE_LIMIT, "60 requests a minute are allowed: come back in 0.8 s"),
        limit=Limit(name="requests_per_minute", limit=60, remaining=0),
        retry_after_s=0.8,
    ),
    Duplicate(**_WHO, state="running"),
    Priced(**_WHO, model="easel-tiny", cost_milliunits=211, acceptable=True),
    Succeeded(
        **_WHO,
        attempt=1,
        model="easel-tiny",
        weights_revision=hashlib.sha256(b"the weights").hexdigest(),
        outputs=[
            Output(
                index=0,
                key=output_key(TENANT, REQUEST_ID, 0, _SHA256, "png"),
                sha256=_SHA256,
                bytes=15_342,
                media_type="image/png",
                width=96,
                height=96,
                seed=7,
            )
        ],
        manifest=manifest_key(TENANT, REQUEST_ID),
        cost_milliunits=211,
        refunded_milliunits=0,
        waited_ms=12,
        engine_ms=410,
        metadata={"post": "4711"},
    ),
    Failed(
        **_WHO,
        attempt=3,
        error=_error(Code.ENGINE_LOST, ErrorType.SERVER, "the engine was lost while it ran this"),
        cost_milliunits=0,
        refunded_milliunits=211,
        metadata={"post": "4711"},
    ),
    Canceled(**_WHO, attempt=1, cost_milliunits=106, refunded_milliunits=105, metadata={"post": "4711"}),
    CancelAccepted(**_WHO, cancel_id=_OTHER_ID, state="running"),
    CancelRefused(
        **_WHO,
        cancel_id=_OTHER_ID,
        state="succeeded",
        error=_error(Code.ALREADY_ENDED, ErrorType.INVALID_REQUEST, "it has ended", "request_id"),
    ),
    Deleted(**_WHO, delete_id=_OTHER_ID, objects=2),
    DeleteRefused(
        **_WHO,
        delete_id=_OTHER_ID,
        state="running",
        error=_error(Code.NOT_ENDED, ErrorType.INVALID_REQUEST, "it has not ended: cancel it first", "request_id"),
    ),
    GenerationStarted(**_WHO, attempt=1, steps=20),
    GenerationStep(**_WHO, attempt=1, step=5, steps=20),
    GenerationPreview(**_WHO, attempt=1, index=0, step=10, steps=20, image_base64="/9j/4AAQSkZJRgABAQ=="),
    _moved(UsageHeld, 211),
    _moved(UsageSettled, 211),
    _moved(UsageRefunded, 105),
    DeadLetter(
        cause=_error(
            Code.KEY_UNKNOWN, ErrorType.AUTHENTICATION, "no key 'acme-2024' is known here, or it was withdrawn", "kid"
        ),
        stage="admission",
        topic="easel.requests",
        partition=3,
        offset=4711,
        appended_ms=1_763_712_000_123,
        key_base64="YWNtZQ==",
        value_base64="eyJwcm9tcHQiOiJhIHJlZCBjaXJjbGUiLCJtb2RlbCI6ImVhc2VsLXRpbnkifQ==",
        value_bytes=46,
        value_sha256=hashlib.sha256(b'{"prompt":"a red circle","model":"easel-tiny"}').hexdigest(),
        headers=[("ce_id", "MDE5YWE0ZDItNmMwMC03MDAwLTgwMDAtMDAwMDAwMDAwMDAx")],
    ),
    DeadLetterReplayed(partition=3, offset=17, tenant=TENANT, request_id=REQUEST_ID),
)

EXAMPLES: dict[type[BaseModel], BaseModel] = {type(example): example for example in _ALL}


def example_headers(channel: Channel, event_type: str) -> dict[str, str]:
    """The headers that stand beside the example of this type."""
    if channel.headers == "letter":
        return {"content-type": JSON, "easel_type": event_type}
    if channel.headers == "request":
        own_id = REQUEST_ID if event_type == GenerationRequest.TYPE else _OTHER_ID
        event = Envelope(id=own_id, type=event_type, source="cms", data=b"", signature=_TOKEN)
    else:
        event = Envelope(
            id=event_id(TENANT, REQUEST_ID, event_type),
            type=event_type,
            source="easel",
            data=b"",
            subject=REQUEST_ID,
            time=None if channel.name == "progress" else "2025-11-21T08:00:00.123+00:00",
            traceparent=_TRACEPARENT,
        )
    return {name: value.decode() for name, value in event.headers()}


def example_key(channel: Channel) -> str:
    """The key of the record that the example would be."""
    return REQUEST_ID if channel.name == "progress" else TENANT
