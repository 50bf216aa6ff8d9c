"""Submits requests with the SDK, shows how far each is, and saves what comes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import TaskID

from ops.cli.bars import UNDECIDED, Bars
from ops.cli.pictures import fetch, file_stem
from producer_api import Client
from producer_api.sdk.exceptions import (
    ClientError,
    GenerationCanceled,
    GenerationFailed,
    RequestRejected,
    TimedOut,
    Unreachable,
)
from producer_api.sdk.handles import Handle
from schemas.connection import StoreSettings
from schemas.errors import ErrorBody
from schemas.events import Accepted, Duplicate, GenerationStarted, GenerationStep, Succeeded
from schemas.requests import GenerationRequest
from transport.objects import ObjectStore

__all__ = ["Finished", "Submission"]

_PROMPT_CHARS = 48
_DECISION_S = 5.0
"""Services that run decide in well under a second."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What became of one request: the event and the files, or the error."""

    prompt: str
    request_id: str | None
    event: Succeeded | None = None
    files: Sequence[Path] = ()
    error: ErrorBody | None = None
    retry_after_s: float | None = None
    unavailable: bool = False
    """Kafka could not be reached, or nothing was heard in time: what became of it is not known."""


class Submission:
    """Requests that are submitted together, and saved in ``folder``."""

    def __init__(
        self, client: Client, store: StoreSettings, folder: Path, *, idempotency_key: str | None = None
    ) -> None:
        self.client = client
        self.folder = folder
        self.idempotency_key = idempotency_key
        self.open: list[Handle] = []
        """Those that were published and are not known to have ended."""
        self._store = store

    async def run(
        self, requests: Sequence[GenerationRequest], *, timeout_s: float, console: Console | None
    ) -> list[Finished]:
        """Submit them and wait until each has ended. Bars go to ``console``, if there is one.

        Raises ``Unreachable``, ``TransportError`` (of the store) and ``CommandError`` (a picture that is not the
        event's).
        """
        bars = Bars(console)
        async with self.client, ObjectStore(self._store) as store, asyncio.TaskGroup() as group:
            with bars:
                tasks = [group.create_task(_Request(self, store, request, bars).run(timeout_s)) for request in requests]
                # Inside the bars' own block, so that they are drawn until the last one has ended.
                return list(await asyncio.gather(*tasks))


class _Request:
    def __init__(self, submission: Submission, store: ObjectStore, request: GenerationRequest, bars: Bars) -> None:
        self._submission = submission
        self._store = store
        self._request = request
        self._bars = bars
        self._state = "it was not published"
        name = request.prompt if len(request.prompt) <= _PROMPT_CHARS else request.prompt[: _PROMPT_CHARS - 1] + "…"
        self._bar: TaskID = bars.add_task(name.replace("[", r"\["), total=None, state="submitting")

    async def run(self, timeout_s: float) -> Finished:
        prompt = self._request.prompt
        try:
            async with asyncio.timeout(timeout_s):
                succeeded = await self._submit_and_follow()
        except TimeoutError:
            raise TimedOut(f"{prompt!r} had not ended after {timeout_s:g} s; {self._state}") from None
        except ClientError as error:
            self._bars.update(self._bar, state=str(error.error.code), total=1, completed=0)
            return Finished(
                prompt,
                error.request_id,
                error=error.error,
                retry_after_s=error.retry_after_s if isinstance(error, RequestRejected) else None,
                unavailable=isinstance(error, TimedOut | Unreachable),
            )
        stem = file_stem(prompt, succeeded.request_id)
        files = await fetch(self._store, succeeded.outputs, self._submission.folder, stem)
        return Finished(prompt, succeeded.request_id, succeeded, files)

    async def _submit_and_follow(self) -> Succeeded:
        submission = self._submission
        handle = await submission.client.submit_request(self._request, idempotency_key=submission.idempotency_key)
        submission.open.append(handle)
        try:
            succeeded = await self._follow(handle)
        except (RequestRejected, GenerationFailed, GenerationCanceled):
            submission.open.remove(handle)
            raise
        submission.open.remove(handle)
        return succeeded

    async def _follow(self, handle: Handle) -> Succeeded:
        self._bars.say(f"{self._request.prompt}: request {handle.request_id}")
        self._state = f"nobody had decided request {handle.request_id}: {UNDECIDED}"
        note = asyncio.get_running_loop().call_later(_DECISION_S, self._bars.undecided, self._bar)
        try:
            return await self._follow_to_its_end(handle, note)
        finally:
            note.cancel()

    async def _follow_to_its_end(self, handle: Handle, note: asyncio.TimerHandle) -> Succeeded:
        async for event in handle.events():
            note.cancel()
            self._bars.decided(self._bar)
            self._state = f"request {handle.request_id} was accepted, and goes on"
            match event:
                case Accepted():
                    self._bars.update(self._bar, state="waiting for its turn")
                case Duplicate():
                    self._bars.update(self._bar, state=f"known, and {event.state}")
                    if event.of and event.error is None:
                        self._bars.say(f"the same as request {event.of}, by its idempotency key")
                case GenerationStarted():
                    self._bars.update(self._bar, total=event.steps, completed=0, state=f"0/{event.steps}")
                case GenerationStep():
                    state = f"{event.step}/{event.steps}"
                    self._bars.update(self._bar, total=event.steps, completed=event.step, state=state)
                case _:
                    self._bars.update(self._bar, total=1, completed=1, state="done")
        return await handle.result()
