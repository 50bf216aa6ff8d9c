"""Waiting for the end of a request, for as long as its caller does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator

from fastapi import Request

from producer_api.answers import ending_of
from producer_api.asking import ask
from producer_api.errors import ApiError
from producer_api.services import Services
from producer_api.submitting import REQUEST_ID
from producer_api.watching import Watched
from producer_api.wire import Terminal
from schemas.errors import Code, ErrorBody, ErrorType
from schemas.events import Canceled, Failed, Rejected, Succeeded
from schemas.requests import CancelRequest

__all__ = ["abandon", "events_of", "late", "outcome", "until_outcome"]

log = logging.getLogger(__name__)

_abandoning: set[asyncio.Task[None]] = set()


async def events_of(services: Services, tenant: str, id_: str) -> AsyncGenerator[Watched, None]:
    """What happens to a request, to its end."""
    with services.tracker.watch(tenant, id_) as watch:
        row = await services.tracker.row(tenant, id_)
        ending = None if row is None else ending_of(row)
        if ending is not None:
            yield ending
            return
        while True:
            await watch.news()
            for event in watch.take():
                yield event
                if isinstance(event, Rejected | Terminal):
                    return


async def until_outcome(services: Services, tenant: str, id_: str, request: Request, *, keyed: bool) -> Succeeded:
    """The success of a request.

    Raises ``ApiError``: what it failed with; 504 after ``EASEL_API_OPENAI_WAIT_S``, and 503 when this process is to
    end: then the request goes on. A caller who leaves has it canceled, unless an idempotency key lets them find it.
    """
    end = asyncio.create_task(_end(services, tenant, id_))
    left = asyncio.create_task(_left(request))
    closing = asyncio.create_task(services.closing.wait())
    waiting = (end, left, closing)
    try:
        await asyncio.wait(waiting, timeout=services.settings.api.openai_wait_s, return_when=asyncio.FIRST_COMPLETED)
        if end.done():
            return outcome(end.result())
        if left.done() and not keyed:
            abandon(services, tenant, id_)
        raise late(services, id_, keyed=keyed)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def outcome(ended: Terminal | Rejected) -> Succeeded:
    """The success, if it is one. Raises ``ApiError`` for anything else."""
    match ended:
        case Succeeded():
            return ended
        case Failed() | Rejected():
            raise ApiError(ended.error)
        case Canceled():
            error = ErrorBody(message="it was canceled", type=ErrorType.INVALID_REQUEST, code=Code.CANCELED)
            raise ApiError(error, status=409)


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


async def _end(services: Services, tenant: str, id_: str) -> Terminal | Rejected:
    async for event in events_of(services, tenant, id_):
        if isinstance(event, Rejected | Terminal):
            return event
    raise AssertionError("the events of a request end with its end")


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
