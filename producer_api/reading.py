"""Reading the whole of a small body: of the kind that is expected, and no further than it may be long."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Request

from producer_api.errors import ApiError
from producer_api.receiving import media_type_of, pieces_of
from schemas.errors import Code, EaselError, ErrorBody, ErrorType
from schemas.requests import MAX_REQUEST_BYTES

__all__ = ["JSON", "content_type", "read_object", "read_within"]

JSON = "application/json"


def content_type(request: Request) -> str:
    """The kind of the body; JSON where none is named."""
    return media_type_of(request) or JSON


async def read_within(request: Request, most_bytes: int, *, kinds: tuple[str, ...] = (JSON,)) -> bytes:
    """The body. Raises ``ApiError``: 408 when it takes too long, 413 when it is too large, 415 for another kind."""
    if (kind := content_type(request)) not in kinds:
        message = f"the content type is {kind[:80]!r}: send {' or '.join(kinds)}"
        error = ErrorBody(message=message, type=ErrorType.INVALID_REQUEST, code=Code.INVALID_REQUEST)
        raise ApiError(error, status=415)
    return b"".join([piece async for piece in pieces_of(request, most_bytes)])


async def read_object(request: Request) -> dict[str, Any]:
    """The body of a request for pictures, as JSON. Raises as ``read_within`` does, and ``EaselError``."""
    try:
        found = json.loads(await read_within(request, MAX_REQUEST_BYTES))
    except (ValueError, RecursionError):
        raise EaselError(Code.INVALID_REQUEST, "the body is not JSON") from None
    if not isinstance(found, dict):
        raise EaselError(Code.INVALID_REQUEST, "the body is not a JSON object")
    return found
