"""``Prefer: wait``: how long a caller would like to wait for the end of its request (RFC 7240)."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["MAX_WAIT_S", "wait_of"]

MAX_WAIT_S = 60

_WAIT = re.compile(r"wait(?:\s*=\s*\"?(\d{1,9})\"?)?", re.IGNORECASE)


def wait_of(headers: Iterable[str]) -> int | None:
    """Seconds, at most a minute, which ``wait`` alone means; None where none, or none that can be read, is wished."""
    for preference in ",".join(headers).split(","):
        found = _WAIT.fullmatch(preference.partition(";")[0].strip())
        if found:
            return MAX_WAIT_S if found[1] is None else min(int(found[1]), MAX_WAIT_S)
    return None
