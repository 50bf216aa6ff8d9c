"""Waiting for the end of a request, for as long as its caller does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator

from fastapi import Request

from producer_api.answers import FINAL, Task
from producer_api.asking import ask
from producer_api.connected import while_connected
from producer_api.errors import ApiError
from producer_api.finding import find_task
from producer_api.services import Services
from producer_api.submitting import REQUEST_ID, until_ended
from producer_api.watching import Watched
from producer_api.wire import Terminal
from schemas.errors import Code, ErrorBody, ErrorType
from schemas.events import Rejected
from schemas.requests import CancelRequest

__all__ = ["abandon", "events_of", "late", "made", "not_again", "until_made"]

log = logging.getLogger(__name__)

_abandoning: set[asyncio.Task[None]] = set()


async def until_made(services: Services, tenant: str, id_: str, request: Request, *, keyed: bool) -> Task:
    """The request, once its pictures are made.

    Raises ``ApiError``: what it failed with; 504 after ``EASEL_API_OPENAI_WAIT_S``, and 503 when this process is to
    end: then the request goes on. A caller who leaves has it canceled, unless an idempotency key lets them find it.
    """
    wait_s = services.settings.api.openai_wait_s
    task = await while_connected(request, until_ended(services, tenant, id_, within_s=wait_s))
    if task is None and not keyed:
        abandon(services, tenant, id_)
    return made(services, task, id_, keyed=keyed)


async def events_of(services: Services, tenant: str, id_: str) -> AsyncGenerator[Watched, None]:
    """What happens to a request from now on, to its end; nothing when it has ended."""
    with services.tracker.watch(tenant, id_) as watch:
        task = await find_task(services, tenant, id_)
        if task is not None and task.state in FINAL:
            return
        while True:
            await watch.news()
            for event in watch.take():
                yield event
                if isinstance(event, Rejected | Terminal):
                    return


def made(services: Services, task: Task | None, id_: str, *, keyed: bool) -> Task:
    """``task``, if it has pictures. Raises ``ApiError`` for anything else."""
    if task is None or task.state not in FINAL:
        raise late(services, id_, keyed=keyed)
    if task.error is not None:
        raise ApiError(task.error)
    if task.state == "canceled":
        error = ErrorBody(message="it was canceled", type=ErrorType.INVALID_REQUEST, code=Code.CANCELED)
        raise ApiError(error, status=409)
    if not task.outputs:
        error = ErrorBody(message="its pictures were deleted", type=ErrorType.NOT_FOUND, code=Code.NOT_FOUND)
        raise ApiError(error, status=410)
    return task


def late(services: Services, id_: str, *, keyed: bool) -> ApiError:
    """The answer to those who have waited long enough. The request goes on, and is charged once."""
    how = "send the same again with the same Idempotency-Key, or ask" if keyed else "do not send it again, but ask"
    error = ErrorBody(
        message=f"the pictures are not done yet, and the request goes on: {how} GET /v1/tasks/{id_}",
        type=ErrorType.SERVER,
        code=Code.NOT_ENDED,
    )
    headers = {REQUEST_ID: id_, "x-should-retry": str(keyed).lower()}
    return ApiError(error, status=503 if services.closing.is_set() else 504, headers=headers)


def not_again(error: ApiError) -> ApiError:
    """``error`` about a request that goes on, or may: repeated without a key it would be another one, charged too.

    Its headers name the request.
    """
    message = f"it may have been taken: do not send it again, but ask GET /v1/tasks/{error.headers[REQUEST_ID]}"
    told = error.error.model_copy(update={"message": message})
    return ApiError(told, status=error.status, headers={**error.headers, "x-should-retry": "false"})


def abandon(services: Services, tenant: str, id_: str) -> None:
    """Stop a request that nobody waits for any more, in the background."""

    async def cancel() -> None:
        try:
            await ask(services, tenant, CancelRequest(request_id=id_))
        except ApiError as error:
            log.warning("%s, whose caller has left, is not canceled: %s", id_, error)

    task = asyncio.create_task(cancel())
    _abandoning.add(task)
    task.add_done_callback(_abandoning.discard)
