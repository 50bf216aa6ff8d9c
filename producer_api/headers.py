"""Headers that every answer has, so that browsers and caches do nothing with it that nobody meant."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["SafeHeaders"]

_DEFAULTS = {
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}
"""A route that knows better sets its own: a picture may be kept, and the page of documentation runs a script."""


class SafeHeaders:
    """Middleware that adds them where they are missing."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                there = {name.lower() for name, _ in headers}
                message["headers"] = headers + [pair for pair in _DEFAULTS.items() if pair[0] not in there]
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)
