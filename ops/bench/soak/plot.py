"""The plot of a soak: latency, memory and ledger over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ops.bench.soak.sample import Sample

__all__ = ["plot"]


def plot(samples: Sequence[Sample], path: Path, per_s: float) -> None:
    """Draw the samples into ``path``."""
    from matplotlib.figure import Figure

    minutes = [sample.at_s / 60 for sample in samples]
    figure = Figure(figsize=(8, 8), layout="constrained")
    latency, memory, ledger = figure.subplots(3, 1, sharex=True)
    latency.plot(minutes, [sample.p50_ms for sample in samples], label="p50")
    latency.plot(minutes, [sample.p99_ms for sample in samples], label="p99", alpha=0.6)
    latency.set(ylabel="ms to the terminal event", title=f"A soak at {per_s:g} requests a second")
    memory.plot(minutes, [sample.admission_mib for sample in samples], label="admission")
    memory.plot(minutes, [sample.worker_mib for sample in samples], label="worker and engine")
    memory.set(ylabel="memory, MiB")
    ledger.plot(minutes, [sample.ledger_records for sample in samples], label="records in the ledger")
    ledger.set(ylabel="records", xlabel="minutes")
    size = ledger.twinx()
    size.plot(minutes, [sample.ledger_mib for sample in samples], label="on disk, MiB", color="tab:orange", alpha=0.6)
    size.set(ylabel="MiB", ylim=(0, None))
    for axes in (latency, memory, ledger):
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(loc="lower left")
    size.legend(loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
