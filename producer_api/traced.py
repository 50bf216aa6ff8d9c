"""A span for each request over HTTP; what is published for it then belongs to that."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from transport.tracing import tracing

__all__ = ["Traced"]

_UNSEEN = ("/health", "/metrics", "/docs", "/openapi.json")


class Traced:
    """Middleware: the span goes on as the request's ``traceparent``, in place of the one that came."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if not tracing.on or scope["type"] != "http" or scope["path"].startswith(_UNSEEN):
            await self._app(scope, receive, send)
            return
        live = tracing.begin(scope["method"], Headers(scope=scope).get("traceparent"), kind="server")
        scope = {**scope, "headers": list(scope["headers"])}
        MutableHeaders(scope=scope)["traceparent"] = live.traceparent
        status = 500

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, observed)
        finally:
            route = getattr(scope.get("route"), "path", None)
            # Not the path itself where no route is known: anybody may make up any number of them.
            named = {"http.route": route} if route else {}
            live.end(
                name=f"{scope['method']} {route}" if route else scope["method"],
                attributes={"http.request.method": scope["method"], "http.response.status_code": status, **named},
                error=str(status) if status >= 500 else None,
            )
