"""Publish what a caller of the API asks, and wait for what admission answers."""

from __future__ import annotations

import time
from collections.abc import Mapping

from producer_api.errors import in_doubt, unavailable
from producer_api.request_log import caller, note_asked
from producer_api.services import Services
from producer_api.signed import Asked, build_request
from producer_api.waiting import within
from producer_api.wire import Answer
from schemas.events import CancelRefused, DeleteRefused, Duplicate, Rejected
from schemas.ids import new_id
from transport.errors import Doubt, Unavailable

__all__ = ["ask"]


async def ask(
    services: Services,
    tenant: str,
    asked: Asked,
    *,
    event_id: str | None = None,
    idempotency_key: str | None = None,
    traceparent: str | None = None,
    again: str = "try again",
    headers: Mapping[str, str] | None = None,
) -> Answer | None:
    """What admission says to a signed event; None when it says nothing within ``EASEL_API_DECISION_WAIT_S``.

    Raises ``ApiError`` (503, with ``headers``) when it can't be published now; ``again`` says how to repeat it.
    """
    if services.keyring.problem is not None:
        raise unavailable("requests can't be signed at the moment; the operator has been told", headers=headers)
    id_ = event_id or new_id()
    record = build_request(
        asked,
        tenant=tenant,
        signer=services.signer,
        topics=services.topics,
        request_id=id_,
        idempotency_key=idempotency_key,
        caller=caller.get(),
        traceparent=traceparent,
    )
    told = note_asked(id_, asked, record.value or b"")
    began = time.perf_counter()
    with services.tracker.expect(tenant, id_) as expected:
        try:
            await services.outlet.publish(record)
        except Unavailable:
            raise unavailable(f"Kafka does not answer: {again}", headers=headers) from None
        except Doubt:
            raise in_doubt(f"Kafka does not answer: {again}", headers=headers) from None
        services.pulse.asked()
        answer = await within(services.settings.api.decision_wait_s, expected)
    outcome = _outcome(answer)
    services.metrics.decisions.labels(outcome).inc()
    told["outcome"] = outcome
    if answer is not None:
        services.metrics.decision_latency.observe(time.perf_counter() - began)
    return answer


def _outcome(answer: Answer | None) -> str:
    """A label for the metrics: what was said, or the code of a refusal."""
    if answer is None:
        return "none in time"
    # A price that says no is an answer all the same.
    refusal = answer.error if isinstance(answer, Rejected | Duplicate | CancelRefused | DeleteRefused) else None
    return answer.TYPE.split(".")[-2] if refusal is None else str(refusal.code)
