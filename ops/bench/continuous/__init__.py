"""``easel bench continuous``: pictures that join and leave a batch at any step, beside batches made from end to end."""

from __future__ import annotations

from ops.bench.continuous.bench import PACKAGES, Plan, bench_continuous

__all__ = ["PACKAGES", "Plan", "bench_continuous"]
