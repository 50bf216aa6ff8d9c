"""``easel bench soak``: a steady load for as long as one likes, and whether anything grows."""

from __future__ import annotations

from ops.bench.soak.bench import PACKAGES, bench_soak

__all__ = ["PACKAGES", "bench_soak"]
