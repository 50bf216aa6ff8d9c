"""Limits by user, not by address: how often a name may be tried, and how often a user may ask. Per process."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

__all__ = ["Attempts", "Rates"]

_FREE = 5
_LONGEST_S = 300.0
_FORGOTTEN_S = 900.0
_MOST_NAMES = 10_000


@dataclass(slots=True)
class _Tried:
    times: int
    last_s: float


class Attempts:
    """After five failures in a row each further try of a name has to wait: 1 s, 2 s, 4 s, … up to 5 minutes.

    A try counts from its beginning, so that many at once are no way around it. Names that nobody has count too: else
    the limit would tell which there are. ``now_s`` is a monotonic clock's.
    """

    def __init__(self) -> None:
        self._tried: OrderedDict[str, _Tried] = OrderedDict()

    def begin(self, name: str, now_s: float) -> float:
        """Count a try. Returns 0, or the seconds until a try of this name is possible: then it was not counted."""
        tried = self._tried.pop(name, None)
        if tried is None or now_s - tried.last_s > _FORGOTTEN_S:
            tried = _Tried(0, now_s)
        self._tried[name] = tried
        if len(self._tried) > _MOST_NAMES:
            self._tried.popitem(last=False)
        if tried.times >= _FREE:
            pause_s = min(2.0 ** min(tried.times - _FREE, 16), _LONGEST_S)
            if (left_s := tried.last_s + pause_s - now_s) > 0:
                return left_s
        tried.times += 1
        tried.last_s = now_s
        return 0.0

    def succeeded(self, name: str) -> None:
        """The try was right: earlier ones no longer count."""
        self._tried.pop(name, None)


class Rates:
    """A token bucket a user, of a minute's worth. ``now_s`` is a monotonic clock's."""

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, user: str, per_minute: int, now_s: float) -> float:
        """Take one. Returns 0, or the seconds until there is one."""
        tokens, at_s = self._buckets.get(user, (float(per_minute), now_s))
        tokens = min(float(per_minute), tokens + (now_s - at_s) * per_minute / 60)
        left_s = 0.0 if tokens >= 1 else (1 - tokens) * 60 / per_minute
        self._buckets[user] = (tokens if left_s else tokens - 1, now_s)
        return left_s
