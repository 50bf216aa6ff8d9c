"""The plot of a bench: pictures a second and latency by the number of clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from ops.bench.engine.crowd import Crowd, percentile

__all__ = ["plot"]


def plot(
    crowds: Mapping[str, Mapping[int, Sequence[Crowd]]], bare_per_s: Sequence[Mapping[int, float]], path: Path
) -> None:
    """Draw what clients saw into ``path``. ``bare_per_s``: of each round, batch size → pictures a second."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    rates, latencies = figure.subplots(1, 2)
    for place, (name, by_clients) in enumerate(crowds.items()):
        spots = [index + 0.4 * (place - 0.5) for index in range(len(by_clients))]
        found = [sorted(one.per_s for one in rounds) for rounds in by_clients.values()]
        middle = [median(values) for values in found]
        spread = [
            [value - values[0] for value, values in zip(middle, found, strict=True)],
            [values[-1] - value for value, values in zip(middle, found, strict=True)],
        ]
        rates.bar(spots, middle, width=0.38, yerr=spread, capsize=3, label=name)
        pooled = [[value for one in rounds for value in one.latencies_ms] for rounds in by_clients.values()]
        seen = {percent: [percentile(values, percent) for values in pooled] for percent in (50, 95, 99)}
        latencies.bar(spots, seen[50], width=0.38, label=name)
        for percent, marker in ((95, "_"), (99, "x")):
            latencies.plot(spots, seen[percent], marker, color="0.25", markersize=10 if percent == 95 else 5)
    for size in bare_per_s[0]:
        level = median(one[size] for one in bare_per_s)
        rates.axhline(level, color="0.5", linewidth=0.8, linestyle="--")
        rates.text(-0.45, level, f"bare loop, batch of {size}", fontsize=8, va="bottom", color="0.35")
    counts = list(next(iter(crowds.values())))
    for axes in (rates, latencies):
        axes.set_xticks(range(len(counts)), [str(count) for count in counts])
        axes.set(xlabel="clients, each asking again when it has its picture", ylim=(0, None))
        axes.grid(axis="y", alpha=0.3)
    rates.set(ylabel="pictures a second")
    latencies.set(ylabel="latency, ms: bar p50, line p95, cross p99")
    figure.legend(*rates.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    figure.savefig(path)
