"""A soak's schedule: interval after interval at a steady rate, with a look at everything that could grow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median, quantiles

from consumer.engine.cores import available_cores
from ops.bench.pipeline.installation import PARTITIONS, Installation
from ops.bench.pipeline.loops import Loop
from ops.bench.pipeline.parts import resident_mib
from ops.bench.report import Progress, Report, table_of
from ops.bench.soak.plot import plot
from ops.bench.soak.sample import Sample
from ops.bench.soak.scaled import REMEMBERED_S, scale_topics
from ops.bench.stack import fresh_stack
from ops.local.stack import Stack
from transport.tail import read_partition

__all__ = ["PACKAGES", "bench_soak"]

PACKAGES = ("aiokafka", "pydantic", "minio")
"""What the figures depend on."""

_INTERVAL_S = 10.0
_LEAST = 4
"""Samples: one for each quarter of the time."""
# The cleaner looks as often as the ledger's times are shorter than they are.
_BROKER = {"log.cleaner.backoff.ms": "5000", "file.delete.delay.ms": "5000", "log.retention.check.interval.ms": "10000"}


_DRIFTS: Mapping[str, Callable[[Sample], float]] = {
    "latency": lambda sample: sample.p50_ms,
    "admission_memory": lambda sample: sample.admission_mib,
    "worker_memory": lambda sample: sample.worker_mib,
    "ledger_records": lambda sample: float(sample.ledger_records),
    "ledger_bytes": lambda sample: sample.ledger_mib,
}


def bench_soak(minutes: float, per_s: float, folder: Path, on_progress: Progress) -> Report:
    """Publish ``per_s`` requests a second for so many minutes. A plot is left in ``folder``.

    Raises ``BenchError``, and ``LocalStackError`` where the broker or the store can't be started.
    """
    scale_topics()
    samples: list[Sample] = []
    with fresh_stack(_BROKER) as (stack, home):
        stack.up()
        installation = Installation(
            stack.endpoints, "soak", home / "easel", stored=True, modules={"admission": "ops.bench.soak.scaled"}
        )
        try:
            installation.start()
            loop = Loop(stack, installation, home / "drive")
            try:
                _soak(stack, installation, loop, home, per_s, minutes * 60, samples, on_progress)
            finally:
                loop.stop()
        finally:
            installation.stop()
        # Before what was stored is removed, which takes a while.
        plot(samples, folder / "soak.svg", per_s)
    return _report(samples, per_s)


def _soak(
    stack: Stack,
    installation: Installation,
    loop: Loop,
    home: Path,
    per_s: float,
    seconds: float,
    samples: list[Sample],
    on_progress: Progress,
) -> None:
    began = time.monotonic()
    while len(samples) < _LEAST or time.monotonic() - began < seconds:
        latencies = loop.pace(round(per_s * _INTERVAL_S), per_s)
        pids = {name: part.process.pid for name, part in installation.services.items()}
        samples.append(
            Sample(
                at_s=time.monotonic() - began,
                p50_ms=median(latencies),
                p99_ms=quantiles(latencies, n=100, method="inclusive")[98],
                admission_mib=resident_mib(pids["admission"]),
                worker_mib=resident_mib(pids["worker"]),
                kafka_mib=resident_mib(stack.pid("kafka") or 0),
                ledger_records=asyncio.run(_records(installation)),
                ledger_mib=_size_mib(home, f"{installation.prefix}.ledger-"),
            )
        )
        on_progress(round(min(seconds, samples[-1].at_s)), round(seconds))


async def _records(installation: Installation) -> int:
    count = 0
    for partition in range(PARTITIONS):
        async for batch in read_partition(installation.settings.kafka, f"{installation.prefix}.ledger", partition):
            count += len(batch)
    return count


def _size_mib(home: Path, name: str) -> float:
    logs = [file for folder in home.glob(f"stack/kafka/data/{name}*") for file in folder.glob("*.log")]
    return sum(file.stat().st_size for file in logs if file.exists()) / 2**20


def _report(samples: Sequence[Sample], per_s: float) -> Report:
    # The first quarter fills what is kept for a while; from there on nothing may grow.
    quarter = max(1, len(samples) // 4)
    second, last = samples[quarter : 2 * quarter], samples[-quarter:]
    drifts = {name: median(map(of, last)) / max(1e-9, median(map(of, second))) - 1 for name, of in _DRIFTS.items()}
    line: dict[str, float | int] = {
        "minutes": round(samples[-1].at_s / 60, 1),
        "requests_per_s": per_s,
        "latency_p50_ms": round(median(sample.p50_ms for sample in samples), 1),
        "latency_p99_ms": round(median(sample.p99_ms for sample in samples), 1),
        **{f"{name}_drift": round(drift, 3) for name, drift in drifts.items()},
        "cores": available_cores(),
    }
    rows = [
        [name, f"{median(map(of, second)):,.1f}", f"{median(map(of, last)):,.1f}", f"{drifts[name]:+.1%}"]
        for name, of in _DRIFTS.items()
    ]
    head = ["median of a quarter of the time", "the second", "the last", "change"]
    details = {"per_s": per_s, "remembered_s": REMEMBERED_S, "samples": [asdict(sample) for sample in samples]}
    return Report("soak", line, [table_of(head, rows)], details)
