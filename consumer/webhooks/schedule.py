"""When a delivery that failed is tried again. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

__all__ = ["Schedule"]

_DELAYS_S = (5.0, 30.0, 120.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0)
_JITTER = 0.2
_MOST_ASKED_S = 6 * 3_600.0


@dataclass(frozen=True, slots=True)
class Schedule:
    """Seconds between the attempts, the last of them again and again, until ``within_s`` after the first one."""

    within_s: float
    delays_s: tuple[float, ...] = _DELAYS_S

    def delay_s(self, failures: int, name: str) -> float:
        """How long to wait after so many failures in a row, 1 or more.

        Up to a fifth more or less, by a hash of ``name``: what failed together does not come back together.
        """
        base = self.delays_s[min(failures, len(self.delays_s)) - 1]
        draw = int.from_bytes(hashlib.sha256(f"{name}/{failures}".encode()).digest()[:4]) / 2**32
        return base * (1 + _JITTER * (2 * draw - 1))

    def next_ms(
        self, *, since_ms: int, now_ms: int, failures: int, name: str, asked_s: float | None = None
    ) -> int | None:
        """When to try again what was first due at ``since_ms``; None when its time is over.

        ``asked_s``: what the receiver asked for by ``Retry-After``; 6 hours count at most, and never less than the
        delay itself.
        """
        wait_s = max(self.delay_s(failures, name), min(asked_s or 0.0, _MOST_ASKED_S))
        due_ms = now_ms + int(wait_s * 1000)
        return None if due_ms > self.ends_ms(since_ms) else due_ms

    def ends_ms(self, since_ms: int) -> int:
        """Until when it is tried."""
        return since_ms + int(self.within_s * 1000)
