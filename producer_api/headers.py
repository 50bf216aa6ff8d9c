"""Headers that every answer has, so that browsers and caches do nothing with it that nobody meant."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Headers", "safe"]

Headers = Sequence[tuple[bytes, bytes]]

_DEFAULTS = {
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}
"""A route that knows better sets its own: a picture may be kept, and the page of documentation runs a script."""


def safe(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The headers of an answer, and those that are missing in it."""
    there = {name.lower() for name, _ in headers}
    return [*headers, *(pair for pair in _DEFAULTS.items() if pair[0] not in there)]
