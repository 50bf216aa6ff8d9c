"""``easel bench engine``: pictures a second, beside the libraries alone and the service that people usually write."""

from __future__ import annotations

from ops.bench.engine.bench import PACKAGES, Plan, bench_engine
from ops.bench.engine.pairs import MODEL

__all__ = ["MODEL", "PACKAGES", "Plan", "bench_engine"]
