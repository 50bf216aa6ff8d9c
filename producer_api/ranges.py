"""``Range``: a part of a picture (RFC 9110, 14)."""

from __future__ import annotations

import re

__all__ = ["NotSatisfiable", "range_of"]

_ONE_RANGE = re.compile(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})", re.IGNORECASE)


class NotSatisfiable(Exception):  # noqa: N818 - what the status says
    """Nothing of the picture lies in the range."""


def range_of(header: str | None, size: int) -> tuple[int, int] | None:
    """Offset and length of the one range that ``header`` asks of ``size`` bytes.

    None when the whole is to be answered: without a header, for several ranges, and for what can't be read. Raises
    ``NotSatisfiable``.
    """
    found = _ONE_RANGE.fullmatch(header.strip()) if header else None
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        length = min(int(found[2]), size)
        if length == 0:
            raise NotSatisfiable
        return size - length, length
    first, last = int(found[1]), min(int(found[2] or size - 1), size - 1)
    if found[2] and int(found[2]) < first:
        return None
    if first >= size:
        raise NotSatisfiable
    return first, last - first + 1
