"""The way to the route that is asked most, past the framework's own: that takes an eighth of an answer's time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from producer_api.errors import ANTICIPATED, answer_to

__all__ = ["Direct"]


class Direct:
    """Middleware that serves one route by itself, which the framework still describes in the document.

    ``handle`` gets its parameters from the request; what it raises is answered as everywhere.
    """

    def __init__(
        self, app: ASGIApp, route: APIRoute, method: str, handle: Callable[[Request], Awaitable[Response]]
    ) -> None:
        self._app = app
        self._route = route
        self._method = method
        self._handle = handle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != self._method or scope["path"] != self._route.path:
            await self._app(scope, receive, send)
            return
        scope["route"] = self._route
        request = Request(scope, receive, send)
        try:
            response = await self._handle(request)
        except ANTICIPATED as error:
            response = answer_to(request, error)
        await response(scope, receive, send)
