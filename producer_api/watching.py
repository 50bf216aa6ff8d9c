"""Who watches a request, and the newest of what has happened to it since they last looked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from producer_api.wire import RequestEvent, Terminal
from schemas.events import Accepted, Duplicate, GenerationStarted, GenerationStep, Rejected
from schemas.previews import GenerationPreview

__all__ = ["Watch", "Watched", "Watchers"]

Watched = Accepted | GenerationStarted | GenerationStep | GenerationPreview | Terminal | Rejected
"""What is told to who watches. After one of the last two kinds nothing more happens."""

_Key = tuple[str, str]


class Watch:
    """Holds at most one event of each kind, and one preview of each picture: a slow reader misses what is outdated.

    What ends the request is never missed.
    """

    def __init__(self) -> None:
        self._decision: Accepted | None = None
        self._progress: GenerationStarted | GenerationStep | None = None
        self._previews: dict[int, GenerationPreview] = {}
        self._ending: Terminal | Rejected | None = None
        self._news: asyncio.Future[None] | None = None

    def tell(self, event: Watched) -> None:
        """Keep an event until it is taken."""
        match event:
            case Accepted():
                self._decision = event
            case GenerationStarted() | GenerationStep():
                self._progress = event
            case GenerationPreview():
                self._previews[event.index] = event
            case _:
                self._ending = event
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def news(self) -> asyncio.Future[None]:
        """Done as soon as there is something to take."""
        if self._news is None or self._news.done():
            self._news = asyncio.get_running_loop().create_future()
        if self._decision or self._progress or self._previews or self._ending:
            self._news.set_result(None)
        return self._news

    def take(self) -> list[Watched]:
        """What has happened, in the order in which it does. From then on it is not held any more."""
        found = (self._decision, self._progress, *self._previews.values(), self._ending)
        self._decision = self._progress = self._ending = None
        self._previews.clear()
        return [event for event in found if event is not None]


class Watchers:
    """The watches by tenant and request; ids are unique per tenant only."""

    def __init__(self) -> None:
        self._watches: dict[_Key, list[Watch]] = {}

    @contextmanager
    def watch(self, tenant: str, id_: str) -> Iterator[Watch]:
        """See what happens to a request from now on. Enter before looking where it stands."""
        key, watch = (tenant, id_), Watch()
        self._watches.setdefault(key, []).append(watch)
        try:
            yield watch
        finally:
            watches = self._watches[key]
            watches.remove(watch)
            if not watches:
                del self._watches[key]

    def tell(self, event: RequestEvent) -> None:
        """Give an event to those who watch its request."""
        if not isinstance(event, Duplicate):
            for watch in self._watches.get((event.tenant, event.request_id), ()):
                watch.tell(event)
