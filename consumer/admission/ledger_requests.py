"""A request as the ledger holds it: as JSON, and back, also from what an earlier release wrote."""

from __future__ import annotations

from typing import Any

from consumer.admission.keys import RequestKey
from consumer.admission.known_by import KeptResult
from consumer.admission.requests import EndedRequest, OpenRequest, Start
from schemas.requests import Parameters

__all__ = ["read_request", "request_content"]


def request_content(request: OpenRequest | EndedRequest) -> dict[str, Any]:
    """What the record of a request holds."""
    content = _ended(request) if isinstance(request, EndedRequest) else _open(request)
    if request.idempotency_key is not None:
        content["idempotency_key"] = request.idempotency_key
    if isinstance(request, OpenRequest) and request.webhook is not None:
        content["webhook"] = request.webhook
    return content


def _ended(request: EndedRequest) -> dict[str, Any]:
    result = {} if request.result is None else {"result": request.result._asdict()}
    return {
        "state": request.state,
        "body": request.body_sha256,
        "ended_ms": request.ended_ms,
        "forget_ms": request.forget_ms,
        **result,
    }


def _open(request: OpenRequest) -> dict[str, Any]:
    marks = {name: True for name in ("seeded", "replayed") if getattr(request, name)}
    return {
        "state": request.state,
        "body": request.body_sha256,
        "sequence": request.sequence,
        "accepted_ms": request.accepted_ms,
        "cost": request.cost,
        "work": request.work,
        "day": request.day,
        "month": request.month,
        "pool": request.pool,
        "parameters": request.parameters.model_dump(mode="json"),
        "metadata": request.metadata,
        "traceparent": request.traceparent,
        "attempt": request.attempt,
        "failures": request.failures,
        # A number for easel 0.1, which knows no more of them.
        "starts": len(request.starts),
        "started": request.starts,
        "alone": request.alone,
        "cancel_requested": request.cancel_requested,
        "dispatched_ms": request.dispatched_ms,
        "retry_at_ms": request.retry_at_ms,
        **marks,
        "worker": request.worker,
        "asked": request.asked,
    }


def read_request(key: RequestKey, content: dict[str, Any]) -> OpenRequest | EndedRequest:
    """The request that a record holds."""
    if "ended_ms" in content:
        return EndedRequest(
            key,
            content["state"],
            content["body"],
            content["ended_ms"],
            content["forget_ms"],
            idempotency_key=content.get("idempotency_key"),
            result=KeptResult(**content["result"]) if "result" in content else None,
        )
    return OpenRequest(
        key=key,
        state=content["state"],
        body_sha256=content["body"],
        sequence=content["sequence"],
        accepted_ms=content["accepted_ms"],
        cost=content["cost"],
        work=content["work"],
        day=content["day"],
        month=content["month"],
        pool=content["pool"],
        parameters=Parameters.model_validate(content["parameters"]),
        metadata=content["metadata"],
        traceparent=content["traceparent"],
        webhook=content.get("webhook"),
        attempt=content["attempt"],
        failures=content.get("failures", _failures_before(content)),
        starts=tuple(Start(*start[: len(Start._fields)]) for start in content.get("started", _starts_before(content))),
        alone=content.get("alone", False),
        cancel_requested=content.get("cancel_requested", False),
        dispatched_ms=content["dispatched_ms"],
        retry_at_ms=content["retry_at_ms"],
        worker=content.get("worker"),
        asked=content.get("asked", 0),
        idempotency_key=content.get("idempotency_key"),
        seeded=content.get("seeded", False),
        replayed=content.get("replayed", False),
    )


def _failures_before(content: dict[str, Any]) -> int:
    """For a record of easel 0.1: each attempt but the one that is out had failed."""
    attempt: int = content["attempt"]
    return attempt if content["state"] == "queued" else attempt - 1


def _starts_before(content: dict[str, Any]) -> list[tuple[str, int, bool]]:
    """For a record of easel 0.1, which only counted them."""
    return [("", content["attempt"], False)] * content["starts"]
