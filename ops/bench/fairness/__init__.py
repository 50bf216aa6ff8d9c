"""``easel bench fairness``: who gets how much of a busy fleet, by the real decisions in virtual time."""

from __future__ import annotations

from ops.bench.fairness.bench import PACKAGES, bench_fairness

__all__ = ["PACKAGES", "bench_fairness"]
