"""Identifiers: requests are UUIDv7, which carry their time; published events are UUIDv5, which repeat exactly."""

from __future__ import annotations

import hashlib
import re

import uuid_utils

from schemas.errors import Code, EaselError

__all__ = [
    "DAY_MS",
    "event_id",
    "is_uuid7",
    "new_id",
    "nth_id",
    "require_idempotency_key",
    "require_request_id",
    "require_uuid7",
    "time_of",
]

DAY_MS = 24 * 60 * 60 * 1000

# The version, and the variant that all UUIDs of RFC 9562 have.
_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

_IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,255}")


def new_id() -> str:
    """A new request id: a UUIDv7 of this moment."""
    return str(uuid_utils.uuid7())


def nth_id(base: str, number: int) -> str:
    """The id of the ``number``-th (below 4,096) of several requests that are asked for under one UUIDv7, ``base``.

    The same whenever it is made again. Of the same moment as ``base``; in their order, the ids are sorted.
    """
    rest = int.from_bytes(hashlib.sha256(f"{base}/{number}".encode()).digest()[:8], "big") & (1 << 62) - 1
    text = f"{time_of(base) << 80 | 0x7 << 76 | number << 64 | 0b10 << 62 | rest:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def event_id(tenant: str, request_id: str, event_type: str, number: int | str = 0) -> str:
    """The id of an event about a request: the same whenever the event is made again, so that readers can deduplicate.

    ``number`` tells apart several events of a type for one request (attempts, duplicates). A request is identified by
    its tenant and its id: two tenants may use one id.
    """
    # By hand: a dozen of these are made for a request, and the library's objects take four times as long.
    space = bytes.fromhex(request_id.replace("-", ""))
    found = bytearray(
        hashlib.sha1(space + f"{tenant}/{event_type}/{number}".encode(), usedforsecurity=False).digest()[:16]
    )
    found[6] = found[6] & 0x0F | 0x50
    found[8] = found[8] & 0x3F | 0x80
    text = found.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def time_of(request_id: str) -> int:
    """The time in a UUIDv7, in ms since 1970."""
    return int(request_id[:8] + request_id[9:13], 16)


def is_uuid7(text: str) -> bool:
    """Whether it is a UUIDv7 in the one form that all readers compare alike."""
    return _UUID7.fullmatch(text) is not None


def require_uuid7(request_id: str) -> None:
    """Raise unless ``request_id`` is a UUIDv7 in the one form that all readers compare alike."""
    if not is_uuid7(request_id):
        raise EaselError(
            Code.ID_INVALID, f"the id {request_id[:64]!r} is not a UUIDv7 in its usual lower-case form", param="ce_id"
        )


def require_request_id(request_id: str, *, at_ms: int) -> None:
    """Raise unless ``request_id`` is a canonical UUIDv7 within a day of ``at_ms``.

    The time bound is what lets the ledger forget: an id older than that can't be a request that it once knew.
    """
    require_uuid7(request_id)
    if abs(time_of(request_id) - at_ms) > DAY_MS:
        raise EaselError(
            Code.ID_OUT_OF_TIME,
            "the time in the id is more than a day from the time the broker received it: make a new id",
            param="ce_id",
        )


def require_idempotency_key(key: str) -> None:
    """Raise unless ``key`` is one that every system can carry: 1 to 255 visible ASCII characters."""
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        raise EaselError(
            Code.INVALID_REQUEST,
            "an idempotency key has 1 to 255 visible ASCII characters",
            param="ce_idempotencykey",
        )
