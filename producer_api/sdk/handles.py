"""One submitted request: what has happened to it, as a stream of events and as a result to wait for."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable
from operator import itemgetter
from typing import Protocol

from producer_api.sdk.exceptions import ClientError, GenerationCanceled, GenerationFailed, RequestRejected, TimedOut
from producer_api.wire import Decision, Progress, RequestEvent, Terminal
from schemas.events import (
    Accepted,
    CancelAccepted,
    Canceled,
    Duplicate,
    Failed,
    GenerationStep,
    Rejected,
    Succeeded,
)
from schemas.previews import GenerationPreview

__all__ = ["Canceler", "Handle"]

_KEPT_STEPS = 256
"""A reader that lags further behind misses the oldest steps, never a decision or an end."""


class Canceler(Protocol):
    """``Client.cancel``."""

    async def __call__(self, request_id: str, *, timeout_s: float) -> CancelAccepted: ...


class Handle:
    """Follow a request. Made by ``Client.submit``; any number of tasks may read it, each at its own pace.

    Events come once each and in the order in which they happened: the decision, then progress that only moves forward,
    then the end. ``request_id`` is the request that is followed: where an idempotency key was known already, the one
    that came under it first.
    """

    def __init__(self, tenant: str, request_id: str, cancel: Canceler) -> None:
        self.tenant = tenant
        self.request_id = request_id
        self._cancel = cancel
        self._log: list[tuple[int, RequestEvent]] = []
        self._appended = 0
        self._steps = 0
        self._early: list[Progress] = []
        self._furthest = (0, -1)
        self._decision: Decision | None = None
        self._end: Terminal | None = None
        self._failure: ClientError | None = None
        self._changed = asyncio.Event()

    @property
    def done(self) -> bool:
        """Whether nothing more will come."""
        return self._end is not None or self._failure is not None or self._refusal() is not None

    @property
    def decided(self) -> bool:
        """Whether admission's decision is known."""
        return self._decision is not None

    async def ended(self) -> None:
        """Wait until nothing more will come; ``result`` then says how it ended, at once."""
        await self._wait(lambda: self.done, "end", None)

    async def events(self) -> AsyncIterator[RequestEvent]:
        """Every event from the first one on, up to the terminal event or the rejection.

        Raises:
            Unreachable, ResultGone: the request can't be followed to its end.
        """
        position = 0
        while True:
            changed = self._changed
            for number, event in self._log[bisect_right(self._log, position, key=itemgetter(0)) :]:
                # Older ones may have been dropped, or new ones added, while the caller had the last event.
                if number > position:
                    position = number
                    yield event
            if position == self._appended:
                if self._failure is not None:
                    raise self._failure
                if self.done:
                    return
                await changed.wait()

    async def decision(self, *, timeout_s: float | None = None) -> Accepted | Duplicate:
        """What admission decided, if it let the request in. ``timeout_s``: without a limit when None.

        Raises:
            RequestRejected: it did not.
            TimedOut: there was no decision within ``timeout_s``.
            Unreachable: the request can't be followed.
        """
        await self._wait(lambda: self._decision is not None, "decision", timeout_s)
        refusal = self._refusal()
        if refusal is not None:
            raise refusal
        if isinstance(self._decision, Accepted | Duplicate):
            return self._decision
        raise self._failure or TimedOut("no decision", request_id=self.request_id)

    async def result(self, *, timeout_s: float | None = None) -> Succeeded:
        """The pictures: where they lie, their hashes and seeds. ``timeout_s``: without a limit when None.

        Raises:
            RequestRejected: the request was not accepted.
            GenerationFailed: it ended without pictures, and what was held is refunded.
            GenerationCanceled: it was canceled before it had pictures; the event says what the steps that ran cost.
            TimedOut: it had not ended within ``timeout_s``; it goes on, and may be waited for again.
            Unreachable, ResultGone: its end can't be learnt.
        """
        await self._wait(lambda: self.done, "result", timeout_s)
        refusal = self._refusal()
        if refusal is not None:
            raise refusal
        match self._end:
            case Succeeded() as succeeded:
                return succeeded
            case Failed() as failed:
                raise GenerationFailed(failed)
            case Canceled() as canceled:
                raise GenerationCanceled(canceled)
        raise self._failure or TimedOut("no result", request_id=self.request_id)

    async def cancel(self, *, timeout_s: float = 30.0) -> CancelAccepted:
        """Stop the request. Returns once admission has answered; the end is told by ``events`` and ``result``.

        The end is a success if that was nearer, else ``GenerationCanceled``.

        Raises:
            NotCanceled: it had ended already.
            RequestRejected: the request was not accepted, so that there is nothing to stop.
            TimedOut: no answer within ``timeout_s``. The cancel may yet be heard; to cancel twice is safe.
            Unreachable: Kafka can't be reached.
        """
        ends_at = asyncio.get_running_loop().time() + timeout_s
        # Which request it is, is known with the decision: an idempotency key may belong to an earlier one.
        await self.decision(timeout_s=timeout_s)
        return await self._cancel(self.request_id, timeout_s=ends_at - asyncio.get_running_loop().time())

    def receive(self, event: RequestEvent) -> None:
        """Take in an event of this request (called by what follows the topics).

        One that was published again changes nothing: there is one decision, one end, and progress moves forward.
        """
        if self.done:
            return
        if isinstance(event, Progress):
            # Two topics: progress can be read before the decision that it follows from.
            if self._decision is None:
                self._early = [*self._early[-_KEPT_STEPS:], event]
            else:
                self._advance(event)
        elif isinstance(event, Terminal):
            self._end = event
            self._append(event)
        elif self._decision is None:
            self._decision = event
            if isinstance(event, Duplicate) and event.of and event.error is None:
                self.request_id = event.of
            self._append(event)
            early, self._early = self._early, []
            if self._refusal() is None:
                for progress in early:
                    self._advance(progress)

    def fail(self, failure: ClientError) -> None:
        """Nothing more can be learnt about this request: whoever waits gets ``failure``."""
        if not self.done:
            self._failure = failure
            self._wake()

    def _advance(self, event: Progress) -> None:
        if isinstance(event, GenerationPreview):
            if event.attempt >= self._furthest[0]:
                self._append(event)
            return
        reached = (event.attempt, event.step if isinstance(event, GenerationStep) else 0)
        if reached > self._furthest:
            self._furthest = reached
            self._append(event)

    def _append(self, event: RequestEvent) -> None:
        self._appended += 1
        if isinstance(event, GenerationPreview):
            self._forget_preview(event.index)
        self._log.append((self._appended, event))
        if isinstance(event, GenerationStep):
            self._steps += 1
            if self._steps > _KEPT_STEPS:
                self._steps -= 1
                del self._log[next(i for i, (_, kept) in enumerate(self._log) if isinstance(kept, GenerationStep))]
        self._wake()

    def _forget_preview(self, index: int) -> None:
        """Only the newest of a picture is of use to who comes late."""
        for place, (_, kept) in enumerate(self._log):
            if isinstance(kept, GenerationPreview) and kept.index == index:
                del self._log[place]
                return

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _refusal(self) -> RequestRejected | None:
        event = self._decision
        if not isinstance(event, Rejected | Duplicate) or event.error is None:
            return None
        return RequestRejected(event.error, request_id=self.request_id, event=event)

    async def _wait(self, reached: Callable[[], bool], what: str, timeout_s: float | None) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                while not reached() and self._failure is None:
                    await self._changed.wait()
        except TimeoutError:
            raise TimedOut(
                f"no {what} within {timeout_s:g} s; the request goes on: wait again", request_id=self.request_id
            ) from None
