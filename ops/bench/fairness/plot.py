"""What the bench measured, in one picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ops.bench.fairness.cases import Busy, Light

__all__ = ["plot"]


def plot(busy: Mapping[str, Busy], waits: Light, path: Path) -> None:
    """Each tenant's pictures for its weight, of the mean; and the waits of the light one. Writes an SVG file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    shares, waiting = figure.subplots(1, 2)
    for name, found in busy.items():
        values = sorted(found.by_weight)
        mean = sum(values) / len(values)
        places = [index / max(1, len(values) - 1) for index in range(len(values))]
        marker = "o" if len(values) < 50 else None
        shares.plot(places, [value / mean for value in values], label=name, marker=marker, markersize=3)
    shares.axhline(1.0, color="0.6", linewidth=0.8)
    shares.set(title="Pictures for its weight, of the mean", xlabel="tenants, from the least to the most", ylim=(0, 2))
    shares.legend()
    for name, times in (("alone", waits.alone_ms), ("beside 10,000 of another", waits.beside_ms)):
        ordered = sorted(times)
        waiting.step(ordered, [(index + 1) / len(ordered) for index in range(len(ordered))], where="post", label=name)
    waiting.axvline(waits.batch_ms, color="0.6", linewidth=0.8, linestyle="--", label="one full batch")
    waiting.set(title="A light tenant", xlabel="ms until its work begins", ylabel="of its requests", ylim=(0, 1.02))
    waiting.legend()
    figure.savefig(path)
