"""``Idempotency-Key``: a caller's own name for a request (draft-ietf-httpapi-idempotency-key-header)."""

from __future__ import annotations

import re

from producer_api.errors import ApiError
from schemas.errors import EaselError
from schemas.ids import require_idempotency_key

__all__ = ["key_of"]

_QUOTED = re.compile(r'"((?:[^"\\]|\\["\\])*)"')
_ESCAPED = re.compile(r'\\(["\\])')


def key_of(header: str | None) -> str | None:
    """The key: what stands between quotes, as the draft has it, or the header as it is. Raises ``ApiError`` (400)."""
    if header is None:
        return None
    quoted = _QUOTED.fullmatch(header)
    key = _ESCAPED.sub(r"\1", quoted[1]) if quoted else header
    try:
        require_idempotency_key(key)
    except EaselError as error:
        raise ApiError(error.body().model_copy(update={"param": "Idempotency-Key"})) from None
    return key
