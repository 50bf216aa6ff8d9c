"""``POST /v1/generate``: sign, publish, wait for admission's decision, and answer with it."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response

from producer_api.answers import Task, task_of_decision, task_of_row
from producer_api.auth import TenantDep
from producer_api.errors import ApiError, refusal, unavailable
from producer_api.services import Services, ServicesDep
from producer_api.signed import build_request
from producer_api.wire import Decision
from schemas.errors import Code, ErrorBody, ErrorType
from schemas.events import Accepted, Duplicate, Rejected
from schemas.ids import new_id, require_request_id
from schemas.requests import MAX_REQUEST_BYTES, read_request
from transport.errors import Unavailable
from transport.records import Outgoing

__all__ = ["REQUEST_ID", "router"]

REQUEST_ID = "Easel-Request-Id"
_BODY_S = 30.0
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

router = APIRouter(tags=["generation"])

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/GenerationRequest"},
                "examples": {
                    "short": {
                        "summary": "The model's defaults for the rest",
                        "value": {"prompt": "a small red circle on a white background", "model": "easel-tiny"},
                    },
                    "full": {
                        "summary": "Two pictures that can be made again",
                        "value": {
                            "prompt": "a small red circle left of a large blue square on a white background",
                            "model": "easel-tiny",
                            "images": 2,
                            "steps": 12,
                            "guidance": 3.0,
                            "seed": 7,
                            "format": "png",
                            "metadata": {"post": "1234"},
                        },
                    },
                },
            }
        },
    }
}


@router.post(
    "/v1/generate",
    status_code=202,
    response_model_exclude_none=True,
    openapi_extra=_BODY,
    summary="Ask for pictures",
    responses={status: {} for status in (400, 403, 404, 409, 413, 415, 429, 503)},
)
async def generate(
    request: Request,
    response: Response,
    tenant: TenantDep,
    services: ServicesDep,
    easel_request_id: Annotated[
        str | None,
        Header(
            description="A UUIDv7 of your own. Sending it again with the same body is the same request, charged once."
        ),
    ] = None,
    traceparent: Annotated[str | None, Header(description="W3C trace context, carried through to the result.")] = None,
) -> Task:
    """Publish a request and answer with what admission decided.

    `202` with the state `accepted` means that the request is in the ledger and its cost is held. When the decision does
    not come in time, the state is `submitted`: ask for the task, or send the request again with the same
    `Easel-Request-Id`. Any other status is a refusal, and nothing was charged.
    """
    asked = read_request(await _body(request))
    id_ = easel_request_id or new_id()
    if easel_request_id is not None:
        require_request_id(easel_request_id, at_ms=int(time.time() * 1000))
    record = build_request(
        asked,
        tenant=tenant,
        signer=services.signer,
        topics=services.topics,
        request_id=id_,
        # A header of the caller's becomes one of the event's: nothing else may come in with it.
        traceparent=traceparent if traceparent and _TRACEPARENT.fullmatch(traceparent) else None,
    )
    named = {REQUEST_ID: id_}
    decision = await _decided(services, tenant, id_, record, named)
    if isinstance(decision, Rejected):
        raise refusal(decision.error, decision.retry_after_s, named)
    if isinstance(decision, Duplicate) and decision.error is not None:
        raise refusal(decision.error, None, named)
    task = task_of_decision(id_, decision)
    if isinstance(decision, Duplicate):
        row = await services.tracker.row(tenant, id_)
        task = task if row is None else task_of_row(id_, row)
    response.headers.update({**named, "Location": task.links.self_})
    return task


async def _decided(
    services: Services, tenant: str, id_: str, record: Outgoing, named: dict[str, str]
) -> Decision | None:
    """Publish, and wait for the decision; None when it does not come in time."""
    if services.keyring.problem is not None:
        raise unavailable("requests can't be signed at the moment; the operator has been told", headers=named)
    began = time.perf_counter()
    with services.tracker.expect(tenant, id_) as expected:
        try:
            await services.outlet.publish(record)
        except Unavailable:
            # The record may still be written: the id in the answer makes trying again safe.
            message = f"Kafka does not answer: try again with the header {REQUEST_ID}: {id_}"
            raise unavailable(message, headers=named) from None
        await asyncio.wait((expected,), timeout=services.settings.api.decision_wait_s)
        decision = expected.result() if expected.done() else None
        if decision is None:
            services.tracker.submitted(tenant, id_)
    _count(services, decision, time.perf_counter() - began)
    return decision


def _count(services: Services, decision: Decision | None, seconds: float) -> None:
    if decision is None:
        outcome = "none in time"
    elif isinstance(decision, Accepted):
        outcome = "accepted"
    else:
        outcome = "duplicate" if decision.error is None else str(decision.error.code)
    services.metrics.decisions.labels(outcome).inc()
    if decision is not None:
        services.metrics.decision_latency.observe(seconds)


async def _body(request: Request) -> bytes:
    """The request's body, read no further than it may be long."""
    content_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise ApiError(_wrong(f"the content type is {content_type[:80]!r}: send application/json"), status=415)
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > MAX_REQUEST_BYTES:
        raise _too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_S):
            async for piece in request.stream():
                body += piece
                if len(body) > MAX_REQUEST_BYTES:
                    raise _too_large()
    except TimeoutError:
        raise ApiError(_wrong(f"the body did not arrive within {_BODY_S:g} s"), status=408) from None
    return bytes(body)


def _too_large() -> ApiError:
    message = f"the request is larger than {MAX_REQUEST_BYTES} bytes"
    error = ErrorBody(message=message, type=ErrorType.INVALID_REQUEST, code=Code.RECORD_TOO_LARGE)
    # What is left of the body is not read: the connection can't serve another request.
    return ApiError(error, headers={"Connection": "close"})


def _wrong(message: str) -> ErrorBody:
    return ErrorBody(message=message, type=ErrorType.INVALID_REQUEST, code=Code.INVALID_REQUEST)
