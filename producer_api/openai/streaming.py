"""The events of a stream as server-sent events: pictures on the way, and each picture at the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from pydantic import BaseModel

from producer_api.errors import ApiError, as_api_error
from producer_api.finding import find_task
from producer_api.openai.answers import Route, completed, partial_of
from producer_api.openai.body import ImagesBody
from producer_api.openai.errors import in_their_words
from producer_api.openai.waiting import abandon, events_of, late, made
from producer_api.services import Services
from producer_api.watching import Watched
from schemas.previews import GenerationPreview

__all__ = ["stream"]

log = logging.getLogger(__name__)

_BEAT_S = 15.0


async def stream(
    services: Services, tenant: str, id_: str, body: ImagesBody, route: Route, *, keyed: bool
) -> AsyncGenerator[str, None]:
    """The text of the stream, until the request has ended.

    A reader who leaves has it canceled, unless an idempotency key lets them find it.
    """
    over = False
    try:
        async with aclosing(_told(services, tenant, id_, body, route, keyed=keyed)) as told:
            async for text in told:
                yield text
        over = True
    finally:
        if not over and not keyed:
            abandon(services, tenant, id_)


async def _told(
    services: Services, tenant: str, id_: str, body: ImagesBody, route: Route, *, keyed: bool
) -> AsyncGenerator[str, None]:
    shown = 0
    try:
        async with asyncio.timeout(services.settings.api.openai_wait_s):
            async for event in _with_beats(services, tenant, id_):
                match event:
                    case None:
                        yield ": still here\n\n"
                    case GenerationPreview() if _is_due(event, shown, body.partial_images):
                        yield _text(partial_of(body, route, event, shown))
                        shown += 1
        task = made(services, await find_task(services, tenant, id_), id_, keyed=keyed)
        for index in range(len(task.outputs or ())):
            yield _text(await completed(services, body, route, task, index))
    except TimeoutError:
        yield _error(late(services, id_, keyed=keyed))
    except Exception as error:
        yield _error(as_api_error(error))


async def _with_beats(services: Services, tenant: str, id_: str) -> AsyncGenerator[Watched | None, None]:
    """The events, and None after each pause; they end early when the process is to end."""
    closing = asyncio.ensure_future(services.closing.wait())
    async with aclosing(events_of(services, tenant, id_)) as events:
        following: asyncio.Future[Watched] | None = None
        try:
            while not closing.done():
                following = following or asyncio.ensure_future(anext(events))
                waiting: set[asyncio.Future[Any]] = {following, closing}
                done, _ = await asyncio.wait(waiting, timeout=_BEAT_S, return_when=asyncio.FIRST_COMPLETED)
                if following in done:
                    try:
                        yield following.result()
                    except StopAsyncIteration:
                        return
                    following = None
                elif not done:
                    yield None
        finally:
            for one in (closing, following):
                if one is not None:
                    one.cancel()
            if following is not None:
                await asyncio.wait({following})


def _is_due(preview: GenerationPreview, shown: int, wanted: int) -> bool:
    """Spread over the steps: the first of three after a quarter of them. Of several pictures the first is shown."""
    due = preview.step * (wanted + 1) >= (shown + 1) * preview.steps
    return preview.index == 0 and shown < wanted and due


def _text(event: BaseModel) -> str:
    name: str = getattr(event, "type", "")
    return f"event: {name}\ndata: {event.model_dump_json()}\n\n"


def _error(error: ApiError) -> str:
    return f"event: error\ndata: {in_their_words(error.error).model_dump_json()}\n\n"
