"""How many cores this process may use, as its affinity and its container's quota say."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

__all__ = ["available_cores"]

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def available_cores() -> int:
    """At least 1. More threads than this slow torch down: they wait for each other at every barrier."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, math.ceil(int(quota) / int(period))))
