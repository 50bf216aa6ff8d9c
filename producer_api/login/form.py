"""What a sign-in sends: a form, as OAuth 2 has it, or the same fields as JSON."""

from __future__ import annotations

import json
from urllib.parse import parse_qsl

from fastapi import Request

from producer_api.errors import ApiError
from producer_api.reading import JSON, content_type, read_within
from schemas.errors import Code, ErrorBody, ErrorType

__all__ = ["field", "read_form"]

_MAX_BYTES = 16 * 1024
_MAX_FIELDS = 32
_FORM = "application/x-www-form-urlencoded"


async def read_form(request: Request) -> dict[str, str]:
    """The fields. Raises ``ApiError`` (400, 408, 413, 415)."""
    kind, body = content_type(request), await read_within(request, _MAX_BYTES, kinds=(_FORM, JSON))
    try:
        if kind == JSON:
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


def _wrong(message: str, *, param: str | None = None) -> ApiError:
    return ApiError(ErrorBody(message=message, type=ErrorType.INVALID_REQUEST, param=param, code=Code.INVALID_REQUEST))
