"""``easel bench pipeline``: the schedule of its measurements, and what is told of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from rich.table import Table

from consumer.engine.cores import available_cores
from ops.bench.pipeline.installation import Installation
from ops.bench.pipeline.loops import BareLoop, Flood, Loop
from ops.bench.pipeline.remembered import remember
from ops.bench.report import Progress, Report, Spread, table_of
from ops.bench.stack import fresh_stack
from ops.local.stack import Stack

__all__ = ["PACKAGES", "Plan", "bench_pipeline"]

PACKAGES = ("aiokafka", "PyJWT", "cryptography", "pydantic", "pydantic-core", "minio", "Pillow")
"""What the figures depend on."""

_PER_S = 20.0
_WARM_UP = 500


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured: requests in a flood, seconds at 20 a second, rounds of both; remembered requests."""

    requests: int = 5_000
    seconds: float = 10.0
    rounds: int = 5
    remembered: int = 200_000


@dataclass(slots=True)
class _Contest:
    """What was measured of both loops under one condition."""

    name: str
    ours: list[Flood] = field(default_factory=list)
    bare: list[Flood] = field(default_factory=list)
    our_ms: list[float] = field(default_factory=list)
    bare_ms: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> Spread:
        return Spread.of_ratios([flood.per_s for flood in self.ours], [flood.per_s for flood in self.bare])


def bench_pipeline(plan: Plan, on_progress: Progress) -> Report:
    """Run both loops in turn: with an empty ledger, with a full one, and with the store.

    Raises ``BenchError``, and ``LocalStackError`` where the broker or the store can't be started.
    """
    contests = [_Contest("empty ledger"), _Contest(f"{plan.remembered:,} remembered"), _Contest("with the store")]
    told = _Told(on_progress, total=len(contests) * plan.rounds * 4)
    with fresh_stack() as (stack, folder):
        stack.up("kafka")
        with _loops(stack, folder / "empty", stored=False) as (ours, bare, installation):
            _measure(contests[0], ours, bare, plan, told)
            installation.stop()
            remember(installation, plan.remembered, int(time.time() * 1000))
            installation.start()
            _measure(contests[1], ours, bare, plan, told)
        stack.up("store")
        with _loops(stack, folder / "stored", stored=True) as (ours, bare, _):
            _measure(contests[2], ours, bare, plan, told)
    return _report(contests, plan)


class _Told:
    """Counts what is done."""

    def __init__(self, on_progress: Progress, *, total: int) -> None:
        self._on_progress, self._total, self._done = on_progress, total, 0

    def one(self) -> None:
        self._done += 1
        self._on_progress(self._done, self._total)


@contextmanager
def _loops(stack: Stack, folder: Path, *, stored: bool) -> Iterator[tuple[Loop, Loop, Installation]]:
    with ExitStack() as ends:
        installation = Installation(stack.endpoints, f"easel-{folder.name}", folder / "easel", stored=stored)
        ends.callback(installation.stop)
        # First: a worker makes the bucket.
        installation.start()
        bare = BareLoop(stack, installation, folder / "bare", f"bare-{folder.name}", stored=stored)
        ends.callback(bare.stop)
        ours = Loop(stack, installation, folder / "drive")
        ends.callback(ours.stop)
        yield ours, bare, installation


def _measure(contest: _Contest, ours: Loop, bare: Loop, plan: Plan, told: _Told) -> None:
    for loop in (bare, ours):
        loop.flood(min(_WARM_UP, plan.requests))
    for number in range(plan.rounds):
        pair = [(ours, contest.ours, contest.our_ms), (bare, contest.bare, contest.bare_ms)]
        # Neither may always have the machine as the other left it.
        for loop, floods, latencies in pair if number % 2 == 0 else reversed(pair):
            floods.append(loop.flood(plan.requests))
            told.one()
            latencies.extend(loop.pace(max(2, round(plan.seconds * _PER_S)), _PER_S))
            told.one()


def _report(contests: Sequence[_Contest], plan: Plan) -> Report:
    first = contests[0]
    line: dict[str, float | int] = {
        "requests_per_s": round(median(flood.per_s for flood in first.ours)),
        "bare_per_s": round(median(flood.per_s for flood in first.bare)),
        "throughput_ratio": round(first.ratio.median, 3),
        "latency_p50_ms": round(median(first.our_ms), 1),
        "latency_p99_ms": round(_p99(first.our_ms), 1),
        "latency_p50_ratio": round(median(first.our_ms) / median(first.bare_ms), 2),
        "cores": available_cores(),
    }
    details: dict[str, Any] = {
        "requests": plan.requests,
        "seconds": plan.seconds,
        "remembered": plan.remembered,
        "conditions": {
            contest.name: {
                "easel": [{"per_s": flood.per_s, "cpu_us": dict(flood.cpu_us)} for flood in contest.ours],
                "bare": [{"per_s": flood.per_s, "cpu_us": dict(flood.cpu_us)} for flood in contest.bare],
                "easel_ms": contest.our_ms,
                "bare_ms": contest.bare_ms,
            }
            for contest in contests
        },
    }
    return Report("pipeline", line, [_floods(contests), _latencies(contests), _processor(contests)], details)


def _floods(contests: Sequence[_Contest]) -> Table:
    rows = []
    for contest in contests:
        for name, floods in (("easel", contest.ours), ("bare", contest.bare)):
            rows.append([f"{contest.name}, {name}", *Spread.of([flood.per_s for flood in floods]).cells(0)])
        rows.append([f"{contest.name}, ratio", *contest.ratio.cells(2)])
    return table_of(["requests a second, all at once", "median", "lowest", "highest"], rows)


def _latencies(contests: Sequence[_Contest]) -> Table:
    rows = [
        [f"{contest.name}, {name}", f"{median(found):.1f}", f"{_p99(found):.1f}", f"{max(found):.1f}"]
        for contest in contests
        for name, found in (("easel", contest.our_ms), ("bare", contest.bare_ms))
    ]
    return table_of([f"ms from submission to the end, at {_PER_S:g} a second", "p50", "p99", "most"], rows)


def _processor(contests: Sequence[_Contest]) -> Table:
    names = list(dict.fromkeys(name for contest in contests for name in contest.ours[0].cpu_us))
    rows = []
    for contest in contests:
        for name, floods in (("easel", contest.ours), ("bare", contest.bare)):
            found = [median(flood.cpu_us.get(part, 0.0) for flood in floods) for part in names]
            rows.append([f"{contest.name}, {name}", *(f"{each:.0f}" for each in found), f"{sum(found):.0f}"])
    return table_of(["processor time, µs a request", *names, "all"], rows)


def _p99(values: Sequence[float]) -> float:
    return quantiles(values, n=100, method="inclusive")[98]
