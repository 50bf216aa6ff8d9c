"""A request's way through the API: signed, published, decided by admission, and followed to its end."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import suppress

from producer_api.answers import Task, task_of_decision, task_of_row
from producer_api.asking import ask
from producer_api.errors import ApiError, refusal
from producer_api.finding import find_task
from producer_api.services import Services
from producer_api.wire import Terminal
from schemas.errors import EaselError, ErrorBody
from schemas.events import Accepted, Duplicate, Rejected
from schemas.ids import new_id, require_idempotency_key, require_request_id
from schemas.requests import GenerationRequest

__all__ = ["FINAL", "REQUEST_ID", "submit", "until_ended"]

REQUEST_ID = "Easel-Request-Id"
FINAL = frozenset({"rejected", "succeeded", "failed", "canceled"})
"""The states of a task that don't change any more."""

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


async def submit(
    services: Services,
    tenant: str,
    asked: GenerationRequest,
    *,
    request_id: str | None = None,
    idempotency_key: str | None = None,
    traceparent: str | None = None,
) -> Task:
    """Publish a request; the task is a new one, or that of the same request which came before.

    Its state is ``submitted`` when admission has not answered within ``EASEL_API_DECISION_WAIT_S``: it may be sent
    again, with the same id or key. A trace context that is not one is left out.

    Raises ``ApiError`` for a refusal, for an id or key that can't be one, and (503) while Kafka is away. Its headers
    name the id.
    """
    id_ = request_id or new_id()
    if request_id is not None:
        require_request_id(request_id, at_ms=int(time.time() * 1000))
    if idempotency_key is not None:
        _require_key(idempotency_key)
    named = {REQUEST_ID: id_}
    decision = await ask(
        services,
        tenant,
        asked,
        event_id=id_,
        idempotency_key=idempotency_key,
        # A header of the caller's becomes one of the event's: nothing else may come in with it.
        traceparent=traceparent if traceparent and _TRACEPARENT.fullmatch(traceparent) else None,
        again=f"try again with the header {REQUEST_ID}: {id_}",
        headers=named,
    )
    match decision:
        case Rejected():
            raise refusal(decision.error, decision.retry_after_s, named)
        case Duplicate(error=ErrorBody() as conflict):
            raise refusal(conflict, None, named)
        case Duplicate():
            id_ = decision.of or id_
            row = await services.tracker.row(tenant, id_)
            return task_of_decision(id_, decision) if row is None else task_of_row(id_, row)
        case Accepted():
            return task_of_decision(id_, decision)
    services.tracker.submitted(tenant, id_)
    return task_of_decision(id_, None)


async def until_ended(services: Services, tenant: str, task_id: str, *, within_s: float) -> Task:
    """The task once it has ended, or as it stands when ``within_s`` are over.

    It waits for the event and asks nobody meanwhile; whoever stops waiting leaves nothing behind.
    """
    with services.tracker.watch(tenant, task_id) as watch, suppress(TimeoutError):
        task = await find_task(services, tenant, task_id)
        if task is not None and task.state in FINAL:
            return task
        async with asyncio.timeout(within_s):
            while not any(isinstance(event, Rejected | Terminal) for event in watch.take()):
                await watch.news()
    return await find_task(services, tenant, task_id) or task or task_of_decision(task_id, None)


def _require_key(key: str) -> None:
    try:
        require_idempotency_key(key)
    except EaselError as error:
        raise ApiError(error.body().model_copy(update={"param": "Idempotency-Key"})) from None
