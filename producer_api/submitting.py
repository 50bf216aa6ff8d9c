"""A request's way through the API: signed, published, decided by admission, and followed to its end."""

from __future__ import annotations

import asyncio
import re
import time

from producer_api.answers import FINAL, Task, task_of_decision
from producer_api.asking import ask
from producer_api.errors import refusal
from producer_api.finding import find_task, shown
from producer_api.rate_limits import rate_limit_headers
from producer_api.services import Services
from producer_api.watching import Watch
from producer_api.wire import Terminal
from schemas.errors import ErrorBody
from schemas.events import Accepted, Duplicate, Rejected
from schemas.ids import new_id, require_request_id
from schemas.requests import GenerationRequest

__all__ = ["REQUEST_ID", "submit", "until_ended"]

REQUEST_ID = "Easel-Request-Id"
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

    Raises ``ApiError`` for a refusal, and (503) while Kafka is away, with headers that name the id; ``EaselError`` for
    an id that can't be one.
    """
    id_ = request_id or new_id()
    if request_id is not None:
        require_request_id(request_id, at_ms=int(time.time() * 1000))
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
            limits = [] if decision.limit is None else [decision.limit]
            told = rate_limit_headers(limits, decision.retry_after_s)
            raise refusal(decision.error, decision.retry_after_s, named | told)
        case Duplicate(error=ErrorBody() as conflict):
            raise refusal(conflict, None, named)
        case Duplicate():
            id_ = decision.of or id_
            row = await services.tracker.row(tenant, id_)
            return task_of_decision(id_, decision) if row is None else shown(services, tenant, id_, row)
        case Accepted():
            return task_of_decision(id_, decision)
    services.tracker.submitted(tenant, id_)
    return task_of_decision(id_, None)


async def until_ended(services: Services, tenant: str, task_id: str, *, within_s: float) -> Task:
    """The task once it has ended, or as it stands when ``within_s`` are over or the API is to end.

    It waits for the event and asks nobody meanwhile; whoever stops waiting leaves nothing behind.
    """
    with services.tracker.watch(tenant, task_id) as watch:
        task = await find_task(services, tenant, task_id)
        if task is not None and task.state in FINAL:
            return task
        waiting = {asyncio.create_task(_ending(watch)), asyncio.create_task(_closing(services))}
        try:
            await asyncio.wait(waiting, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()
    return await find_task(services, tenant, task_id) or task or task_of_decision(task_id, None)


async def _ending(watch: Watch) -> None:
    while not any(isinstance(event, Rejected | Terminal) for event in watch.take()):
        await watch.news()


async def _closing(services: Services) -> None:
    await services.closing.wait()
