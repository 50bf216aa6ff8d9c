"""The headers that tell a client what it has left: ``RateLimit`` and ``RateLimit-Policy``.

As in draft-ietf-httpapi-ratelimit-headers: lists of structured items, each limit under its own name, with ``q`` for
the whole quota, ``w`` for its window in seconds, ``r`` for what remains and ``t`` for the seconds until there is more.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from schemas.events import Limit

__all__ = ["rate_limit_headers"]

_POLICIES = {
    "requests_per_minute": ";w=60",
    "milliunits_per_day": ';qu="milliunits";w=86400',
    # A calendar month has no one length.
    "milliunits_per_month": ';qu="milliunits"',
    "queued": ';qu="concurrent-requests"',
}


def rate_limit_headers(limits: Sequence[Limit], retry_after_s: float | None = None) -> dict[str, str]:
    """Headers that tell ``limits``; none where there are none. ``retry_after_s`` is when there is more of them."""
    if not limits:
        return {}
    until = "" if retry_after_s is None else f";t={ceil(retry_after_s)}"
    return {
        "RateLimit-Policy": ", ".join(f'"{one.name}";q={one.limit}{_POLICIES.get(one.name, "")}' for one in limits),
        "RateLimit": ", ".join(f'"{one.name}";r={one.remaining}{until}' for one in limits),
    }
