"""Reads server-sent events as a browser does."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx

__all__ = ["EventSource", "Said", "listening"]


@dataclass(frozen=True)
class Said:
    """An event; ``id`` is the last one that was named, which a browser sends when it comes again."""

    name: str
    data: Any
    id: str


@dataclass
class EventSource:
    """One response. ``comments`` and ``retry_ms`` are what a page never sees."""

    response: httpx.Response
    comments: list[str] = field(default_factory=list)
    retry_ms: int | None = None
    last_id: str = ""

    async def __aiter__(self) -> AsyncIterator[Said]:
        name, data = "message", list[str]()
        async for line in self.response.aiter_lines():
            key, _, value = line.partition(":")
            match key, value.removeprefix(" "):
                case "", "" if not line:
                    if data:
                        yield Said(name, json.loads("\n".join(data)), self.last_id)
                    name, data = "message", []
                case "", comment:
                    self.comments.append(comment)
                case "event", name:
                    pass
                case "data", value:
                    data.append(value)
                case "id", value:
                    self.last_id = value
                case "retry", value:
                    self.retry_ms = int(value)


@contextlib.asynccontextmanager
async def listening(http: httpx.AsyncClient, path: str, **options: Any) -> AsyncIterator[EventSource]:
    """The events at a path that is known."""
    async with http.stream("GET", path, **options) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield EventSource(response)
