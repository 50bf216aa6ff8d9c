"""How much memory the engine's process may hold: one that leaks is replaced between batches, before the kernel does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import psutil

__all__ = ["MemoryWatch", "die_first"]

_MIB = 2**20
_OWN_SCORE = Path("/proc/self/oom_score_adj")
_FIRST = "1000"


class MemoryWatch:
    """Main memory of the child, in MiB, against a limit; without one nothing is looked at. ``tell`` gets log lines."""

    def __init__(self, limit_mib: int | None, tell: Callable[[str], None]) -> None:
        self._limit_mib = limit_mib
        self._tell = tell
        self._hopeless = False

    def loaded(self, pid: int) -> None:
        """A model has been loaded. One that is above the limit by itself would be loaded again after every batch."""
        held = self._held_mib(pid)
        self._hopeless = self._limit_mib is not None and held > self._limit_mib
        if self._hopeless:
            self._tell(
                f"the engine holds {held} MiB with the model just loaded, which is above the limit of "
                f"{self._limit_mib} MiB: it is not started again for it; raise EASEL_GENERATION_ENGINE_MEMORY_MIB"
            )

    def exceeded(self, pid: int) -> bool:
        """Whether the child has grown above the limit since its model was loaded."""
        if self._limit_mib is None or self._hopeless:
            return False
        held = self._held_mib(pid)
        if held <= self._limit_mib:
            return False
        self._tell(f"the engine holds {held} MiB, above the limit of {self._limit_mib} MiB: it is started again")
        return True

    def _held_mib(self, pid: int) -> int:
        if self._limit_mib is None:
            return 0
        try:
            return int(psutil.Process(pid).memory_info().rss // _MIB)
        except psutil.Error:
            # Gone: its supervisor knows by itself.
            return 0


def die_first() -> None:
    """Have the kernel take this process, and not the worker, when the machine's memory runs out. Linux alone asks."""
    with contextlib.suppress(OSError):
        _OWN_SCORE.write_text(_FIRST, encoding="ascii")
