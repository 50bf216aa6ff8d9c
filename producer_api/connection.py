"""A connection of the HTTP server that nobody can hold for ever, nor fill: uvicorn's own, with limits.

A proxy in front does the same for those behind it; without one, a client that sends a byte now and then would keep a
connection, and some hundreds of them the server (slowloris).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from producer_api.one_write import OneWrite
from schemas.errors import Code, ErrorBody, ErrorShape, ErrorType

__all__ = ["MAX_HEAD_BYTES", "limited_to"]

MAX_HEAD_BYTES = 32 * 1024
"""The request line and all headers together."""

_HEAD_S = 10.0
"""For a request's head to arrive, from its first byte; for the first one, from the connection on."""
_LEFTOVER_S = 5.0
_LEFTOVER_BYTES = 4 * 2**20
"""What is left of a body when its answer is out is read for so long, and so far: else the client might not see the
answer."""
_STALLED_S = 60.0
"""A client that takes nothing of an answer for so long has gone."""

_Plain = tuple[int, str, str]
_BAD: _Plain = (400, "Bad Request", "this is not an HTTP/1.1 request")
_SLOW: _Plain = (408, "Request Timeout", f"the request's headers did not arrive within {_HEAD_S:g} s")
_LARGE: _Plain = (431, "Request Header Fields Too Large", f"the headers are larger than {MAX_HEAD_BYTES} bytes")
_FULL: _Plain = (503, "Service Unavailable", "there are too many connections: try again")


class _Connection(HttpToolsProtocol):
    most_connections: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._refused = False
        self._answered_early = False
        self._head_bytes = self._parsed_bytes = self._leftover_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._one_write: Any = OneWrite(transport, self.loop)
        if len(self.connections) > 2 * self.most_connections:
            transport.abort()
        elif len(self.connections) > self.most_connections:
            self._refuse(_FULL, "Retry-After: 1\r\n")
        else:
            self._end_in(_HEAD_S, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._deadline, self._stalled, self.timeout_keep_alive_task):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused or self._answered_early:
            self._leftover_bytes += len(data)
            if self._leftover_bytes > _LEFTOVER_BYTES:
                self.transport.abort()
                return
        if self._refused:
            return
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if not self._in_head or self._refused:
            return
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(_LARGE)
        elif self._deadline is None:
            self._end_in(_HEAD_S, self._too_slow)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._parsed_bytes = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._parsed_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._parsed_bytes += len(name) + len(value) + 4

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        self._end_no_more()
        # What came in one piece with its body has been counted by no one yet.
        if self._parsed_bytes > MAX_HEAD_BYTES:
            self._refuse(_LARGE)
        else:
            super().on_headers_complete()
            # Its task has not begun: all that it writes goes this way.
            self.cycle.transport = self._one_write

    def on_body(self, body: bytes) -> None:
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._refused:
            return
        super().on_message_complete()
        if self._answered_early:
            # The rest of it is here now: the connection waits for another request.
            self._answered_early = False
            self._end_no_more()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body and not self.transport.is_closing():
            self._answered_early = True
            self._leftover_bytes = 0
            self._end_in(_LEFTOVER_S, self.transport.close)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(_STALLED_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the base class's signature
        self._refuse(_BAD)

    def _too_slow(self) -> None:
        self._refuse(_SLOW)

    def _end_in(self, seconds: float, end: Callable[[], None]) -> None:
        self._end_no_more()
        self._deadline = self.loop.call_later(seconds, end)

    def _end_no_more(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, why: _Plain, headers: str = "") -> None:
        """Say why, and close. What still comes is thrown away for a while: else the answer might not be seen."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        status, phrase, message = why
        kind = ErrorType.SERVER if status >= 500 else ErrorType.INVALID_REQUEST
        code = Code.SERVICE_UNAVAILABLE if status >= 500 else Code.INVALID_REQUEST
        body = ErrorShape(error=ErrorBody(message=message, type=kind, code=code)).model_dump_json()
        self.transport.write(
            f"HTTP/1.1 {status} {phrase}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            f"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n{headers}\r\n"
            f"{body}".encode()
        )
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._end_in(_LEFTOVER_S, self.transport.close)


def limited_to(connections: int) -> type[asyncio.Protocol]:
    """The protocol for a server that serves so many connections at a time; further ones are answered 503."""
    return type("Connection", (_Connection,), {"most_connections": connections})
