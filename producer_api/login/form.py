"""What a sign-in sends: a form, as OAuth 2 has it, or the same fields as JSON."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import parse_qsl

from fastapi import Request

from producer_api.errors import ApiError
from schemas.errors import Code, ErrorBody, ErrorType

__all__ = ["field", "read_form"]

_MAX_BYTES = 16 * 1024
_MAX_FIELDS = 32
_LIMIT_S = 10.0


async def read_form(request: Request) -> dict[str, str]:
    """The fields. Raises ``ApiError`` (400, 408, 413, 415)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in {"application/x-www-form-urlencoded", "application/json"}:
        raise _wrong("send the fields as application/x-www-form-urlencoded, or as JSON", status=415)
    body = await _body(request)
    try:
        if kind == "application/json":
            fields = json.loads(body)
        else:
            fields = dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS))
    except (ValueError, RecursionError):
        raise _wrong(f"the body is not {kind}") from None
    if not isinstance(fields, dict):
        raise _wrong("the body is not an object of fields")
    return {name: value for name, value in fields.items() if isinstance(value, str)}


def field(fields: dict[str, str], name: str) -> str:
    """A field that must be there. Raises ``ApiError`` (400)."""
    if not (value := fields.get(name, "")):
        raise _wrong(f"the field {name!r} is missing", param=name)
    return value


async def _body(request: Request) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(_LIMIT_S):
            async for piece in request.stream():
                body += piece
                if len(body) > _MAX_BYTES:
                    error = ErrorBody(
                        message=f"the body is larger than {_MAX_BYTES} bytes",
                        type=ErrorType.INVALID_REQUEST,
                        code=Code.RECORD_TOO_LARGE,
                    )
                    raise ApiError(error)
    except TimeoutError:
        raise _wrong(f"the body did not arrive within {_LIMIT_S:g} s", status=408) from None
    return bytes(body)


def _wrong(message: str, *, param: str | None = None, status: int | None = None) -> ApiError:
    error = ErrorBody(message=message, type=ErrorType.INVALID_REQUEST, param=param, code=Code.INVALID_REQUEST)
    return ApiError(error, status=status)
