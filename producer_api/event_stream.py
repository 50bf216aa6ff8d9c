"""What happens to a task, as server-sent events.

    retry: 2000
    id: 0-0       event: accepted     the task
    id: 1-4       event: progress     step 4 of its steps, in attempt 1
                  event: preview      a small picture of how far it is
    id: end       event: succeeded    the task; or failed, canceled, rejected

Ids are places, the same at every instance of the API: whoever was cut off names the last one, and gets what came after
it. Of progress that is the newest alone. Previews have no id: they are not told again.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

from producer_api.answers import FINAL, Task, task_of_decision
from producer_api.finding import find_task
from producer_api.services import Services
from producer_api.watching import Watched
from schemas.events import Accepted, GenerationStarted, GenerationStep
from schemas.previews import GenerationPreview

__all__ = ["ENDED", "Place", "event_stream", "place_of"]

ENDED = "end"
"""The id of what ends a task: nothing comes after it."""
_ID = re.compile(r"([0-9]{1,9})-([0-9]{1,9})")
_HEARTBEAT_S = 15.0
"""Proxies close what is silent for a minute."""
_HEARTBEAT = b": still here\n\n"
_RETRY_MS = 2_000


class Place(NamedTuple):
    """How far a reader is."""

    attempt: int
    step: int


_NOWHERE, _ACCEPTED = Place(-1, 0), Place(0, 0)


def place_of(last_event_id: str | None) -> Place:
    """The place that ``Last-Event-ID`` names; before everything for a reader who comes first, or says what is none."""
    found = _ID.fullmatch(last_event_id or "")
    return Place(int(found[1]), int(found[2])) if found else _NOWHERE


async def event_stream(services: Services, tenant: str, id_: str, after: Place) -> AsyncIterator[bytes]:
    """The events of a task after a place, until it has ended or this process is to end."""
    yield f"retry: {_RETRY_MS}\n\n".encode()
    reader = _Reader(id_, after)
    closing = asyncio.ensure_future(services.closing.wait())
    try:
        with services.tracker.watch(tenant, id_) as watch:
            task = await find_task(services, tenant, id_)
            for said in reader.standing(task):
                yield said
            while not reader.done:
                found, _ = await asyncio.wait(
                    (watch.news(), closing), timeout=_HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED
                )
                if not found:
                    yield _HEARTBEAT
                for event in watch.take():
                    if said := reader.told(event):
                        yield said
                    elif reader.ending:
                        for said in reader.standing(await find_task(services, tenant, id_)):
                            yield said
                if closing.done() and not reader.done:
                    # Not all at the same moment: the other instances take them up.
                    yield f": this server ends\nretry: {random.randint(500, 3_000)}\n\n".encode()  # noqa: S311
                    return
    finally:
        closing.cancel()


class _Reader:
    """What one reader has been told, and so what is news."""

    def __init__(self, id_: str, after: Place) -> None:
        self._id = id_
        self._place = after
        self._knows_accepted = after >= _ACCEPTED
        self.ending = False
        """It has ended: how, the task says."""
        self.done = False

    def standing(self, task: Task | None) -> Iterator[bytes]:
        """What is news in where the task stands."""
        if task is None:
            return
        if task.state in FINAL:
            self.done = True
            yield _event(task.state, task.model_dump_json(exclude_none=True), ENDED)
            return
        if task.state in ("accepted", "running"):
            accepted = task.model_copy(update={"state": "accepted", "progress": None, "cancel_requested": None})
            yield from self._accepted(accepted)
        if task.progress is not None:
            progress = task.progress
            yield from self._progress(progress.attempt, progress.step, progress.steps)

    def told(self, event: Watched) -> bytes:
        """An event as it is sent; empty when it is no news."""
        match event:
            case Accepted():
                return b"".join(self._accepted(task_of_decision(self._id, event)))
            case GenerationStarted():
                return b"".join(self._progress(event.attempt, 0, event.steps))
            case GenerationStep():
                return b"".join(self._progress(event.attempt, event.step, event.steps))
            case GenerationPreview():
                fields = event.model_dump(exclude={"tenant", "request_id"})
                return _event("preview", _json(id=self._id, **fields))
        self.ending = True
        return b""

    def _accepted(self, task: Task) -> Iterator[bytes]:
        if not self._knows_accepted:
            self._knows_accepted = True
            # Progress is on another topic and may come first: an id of before would lead back.
            id_ = self._moved(_ACCEPTED) if self._place < _ACCEPTED else None
            yield _event("accepted", task.model_dump_json(exclude_none=True), id_)

    def _progress(self, attempt: int, step: int, steps: int) -> Iterator[bytes]:
        if self._place < (attempt, step):
            data = _json(id=self._id, attempt=attempt, step=step, steps=steps)
            yield _event("progress", data, self._moved(Place(attempt, step)))

    def _moved(self, place: Place) -> str:
        self._place = place
        return f"{place.attempt}-{place.step}"


def _json(**fields: Any) -> str:
    return json.dumps(fields, separators=(",", ":"))


def _event(name: str, data: str, id_: str | None = None) -> bytes:
    # JSON has no line breaks of its own: one line of data is enough.
    return (f"id: {id_}\n" if id_ else "").encode() + f"event: {name}\ndata: {data}\n\n".encode()
