"""``easel bench pipeline``: signed requests to their terminal events, through everything, beside a bare loop."""

from __future__ import annotations

from ops.bench.pipeline.bench import PACKAGES, Plan, bench_pipeline

__all__ = ["PACKAGES", "Plan", "bench_pipeline"]
