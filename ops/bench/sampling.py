"""Where processor time goes: a statistical profile by parts of the program.

A profiler that notes every call makes small Python functions look dear and C functions cheap. This one looks only some
hundreds of times a second at what runs, so it shifts nothing.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Mapping
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Sampler"]

_EVERY_S = 0.002


class Sampler:
    """Counts, while entered, in which part the main thread spends its processor time.

    ``parts``: module → the name of its part. A sample belongs to the innermost function of such a module: what it calls
    in libraries is its own, what it calls in another named module is that one's. Main thread only.
    """

    def __init__(self, parts: Mapping[str, str]) -> None:
        self._parts = parts
        self._samples: Counter[str] = Counter(dict.fromkeys(parts.values(), 0))
        self._before: Any = None

    def __enter__(self) -> Sampler:
        self._before = signal.signal(signal.SIGPROF, self._look)
        signal.setitimer(signal.ITIMER_PROF, _EVERY_S, _EVERY_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, self._before)

    @property
    def samples(self) -> int:
        return self._samples.total()

    def shares(self) -> dict[str, float]:
        """Part → its share of the samples, from 0 to 1. All are 0 when there are none."""
        total = self._samples.total()
        return {part: count / total if total else 0.0 for part, count in self._samples.items()}

    def _look(self, _number: int, frame: FrameType | None) -> None:
        while frame is not None:
            part = self._parts.get(frame.f_globals.get("__name__", ""))
            if part is not None:
                self._samples[part] += 1
                return
            frame = frame.f_back
