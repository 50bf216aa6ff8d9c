"""How much of a request's body is read, and for how long: on every route, however it reads."""

from __future__ import annotations

import asyncio
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from producer_api.errors import ApiError
from schemas.errors import Code, ErrorBody, ErrorType

__all__ = ["BoundedBody"]

_PAUSE_S = 10.0
"""Between two pieces of a body, and for the first one."""
_SLOWEST_BYTES_S = 4 * 1024
"""On the whole, after the first ``_PAUSE_S``: a byte a second is no upload."""


class BoundedBody:
    """Middleware that ends a body which is too long (413) or too slow (408) for the installation. Routes have less."""

    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        self._app = app
        self._most_bytes = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        seen = 0
        whole = False

        async def bounded() -> Message:
            nonlocal seen, whole
            if whole:
                # Now it is the client's leaving that is waited for.
                return await receive()
            left_s = min(_PAUSE_S, began + _PAUSE_S + seen / _SLOWEST_BYTES_S - time.monotonic())
            try:
                async with asyncio.timeout(left_s):
                    message = await receive()
            except TimeoutError:
                raise _too_slow() from None
            seen += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if seen > self._most_bytes:
                raise _too_large(self._most_bytes)
            return message

        await self._app(scope, bounded, send)


def _too_slow() -> ApiError:
    message = "the body came too slowly: send it again"
    error = ErrorBody(message=message, type=ErrorType.INVALID_REQUEST, code=Code.INVALID_REQUEST)
    return ApiError(error, status=408)


def _too_large(most_bytes: int) -> ApiError:
    message = f"the body is larger than {most_bytes} bytes"
    error = ErrorBody(message=message, type=ErrorType.INVALID_REQUEST, code=Code.RECORD_TOO_LARGE)
    return ApiError(error)
