"""One line in the log for each request: who, what, how long, how it ended; never a key, and a prompt as its hash.

All that is logged while a request is served carries its id and trace, so that the lines of several are told apart.
"""

from __future__ import annotations

import hashlib
import re
import time
from contextvars import ContextVar
from secrets import token_hex
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, reset_contextvars

from producer_api.headers import safe
from producer_api.signed import Asked
from schemas.requests import GenerationRequest
from transport.logs import logger, prompt_facts

__all__ = ["RequestLog", "caller", "note", "note_asked"]

log = logger("api")

caller: ContextVar[str | None] = ContextVar("caller", default=None)
"""The id of the API key that the request at hand came with: what is signed for it names it."""

_facts: ContextVar[dict[str, Any] | None] = ContextVar("facts", default=None)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_PATH_CHARS = 200
_PROBES = ("/health/live", "/health/ready", "/metrics")
"""They come every few seconds, and are logged only when they fail."""


def note(**facts: Any) -> None:
    """Say more in the line of the request at hand."""
    found = _facts.get()
    if found is not None:
        found.update(facts)


def note_asked(event_id: str, asked: Asked, body: bytes) -> dict[str, Any]:
    """Say in that line what is published for the request; what becomes of it may be added to the answer.

    ``body_sha256`` is the hash that ``easel audit`` shows of the same event.
    """
    said: dict[str, Any] = {"id": event_id, "type": asked.TYPE, "body_sha256": hashlib.sha256(body).hexdigest()}
    if isinstance(asked, GenerationRequest):
        said |= {"model": asked.model, **prompt_facts(asked.prompt)}
    else:
        said["task"] = asked.request_id
    found = _facts.get()
    if found is not None:
        found.setdefault("asked", []).append(said)
    return said


class RequestLog:
    """Middleware that writes the line, and answers with ``X-Request-Id``: the caller's own, or a new one.

    Every answer leaves through here: the headers that all of them have are added with that one.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        bound = _named(scope)
        named = (b"x-request-id", bound["request_id"].encode())
        facts: dict[str, Any] = {}
        status, sent = 500, 0
        began = time.perf_counter()

        async def observed(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*safe(message.get("headers", ())), named]
            elif message["type"] == "http.response.body":
                sent += len(message.get("body", b""))
            await send(message)

        token = _facts.set(facts)
        tokens = bind_contextvars(**bound)
        try:
            await self._app(scope, receive, observed)
        finally:
            _facts.reset(token)
            if scope["path"] not in _PROBES or status >= 500:
                client = scope.get("client")
                log.info(
                    "request",
                    method=scope["method"],
                    # Without its query, which may hold a ticket.
                    path=scope["path"][:_PATH_CHARS],
                    status=status,
                    ms=round((time.perf_counter() - began) * 1000, 1),
                    sent_bytes=sent,
                    client=client[0] if client else None,
                    **facts,
                )
            reset_contextvars(**tokens)


def _named(scope: Scope) -> dict[str, str]:
    """What tells the lines of a request from those of others: its id, and its trace where it has one."""
    named: dict[str, str] = {}
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(text := value.decode("latin-1")):
            named.setdefault("request_id", text)
        elif name == b"traceparent" and (trace := _TRACEPARENT.fullmatch(value.decode("latin-1"))):
            named.setdefault("trace_id", trace[1])
    named.setdefault("request_id", token_hex(16))
    return named
