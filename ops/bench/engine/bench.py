"""``easel bench engine``: the schedule of its measurements, and what is told of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table

from consumer.engine.cores import available_cores
from ops.bench import usual_service
from ops.bench.bare_process import BareProcess, best_bare_process
from ops.bench.engine.crowd import Crowd, crowd, percentile
from ops.bench.engine.pairs import (
    BATCHES,
    FULL,
    Contest,
    batch_of,
    measure_pairs,
    pairs_details,
    pairs_table,
)
from ops.bench.engine.plot import plot
from ops.bench.engine.served import Easel, Served, run_easel, run_usual_service
from ops.bench.report import Progress, Report, Spread, table_of
from schemas.catalog import ModelCard

__all__ = ["PACKAGES", "Plan", "bench_engine"]

PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "numpy", "fastapi", "uvicorn", "aiokafka", "minio")
"""What the figures depend on."""

_CLIENTS = {1: 12, 8: 48, 32: 96}
"""Clients → requests in one measurement: two to ten seconds of each on two cores."""
_NOTHING = 20
_SINGLES = 8
_FULL_BATCHES = 6
_WARM_UP = 16


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured: pairs of engine and bare loop at each batch size; rounds of all that serve clients.

    ``share`` of the requests of a round, for a first look.
    """

    pairs: int = 10
    rounds: int = 3
    share: float = 1.0


@dataclass(slots=True)
class _Round:
    """What was measured side by side. By number of clients, or of pictures in a batch."""

    easel: dict[int, Crowd] = field(default_factory=dict)
    service: dict[int, Crowd] = field(default_factory=dict)
    idle: dict[int, float] = field(default_factory=dict)
    """The part of the time in which the engine did nothing although work waited."""
    batches: dict[int, float] = field(default_factory=dict)
    """Pictures in easel's batches, on average; 0 when none ended meanwhile, as where pictures join at any step."""
    cpu_ms: dict[int, dict[str, float]] = field(default_factory=dict)
    """Processor time a picture, by part of easel."""
    bare_per_s: dict[int, float] = field(default_factory=dict)
    bare_cpu_ms: dict[int, float] = field(default_factory=dict)
    nothing_ms: Sequence[float] = ()
    """Latencies of requests that have nothing made, for one client."""


async def bench_engine(card: ModelCard, plan: Plan, on_progress: Progress) -> Report:
    """Measure the engine's path in pairs, then easel, the usual service and the bare loop in rounds.

    Raises ``BenchError`` when the model can't be loaded, or something ends before it should; ``LocalStackError`` where
    the broker or the store can't be started.
    """
    done, total = 0, len(BATCHES) * (plan.pairs + 1) + plan.rounds * 2 * len(_CLIENTS)

    def one() -> None:
        nonlocal done
        on_progress(done := done + 1, total)

    async with best_bare_process(card, available_cores(), batch_of(card, FULL)) as bare:
        contests = await measure_pairs(card, bare, plan.pairs, one)
        async with run_easel(card) as easel, run_usual_service(card, bare.waiting) as service:
            served: tuple[Served, ...] = (easel, service)
            for each in served:
                await crowd(FULL, _WARM_UP, each.ask)
            rounds = [
                await _round(card, plan, easel, service, bare, one, turned=number % 2 == 1)
                for number in range(plan.rounds)
            ]
    return _report(contests, rounds, plan, bare.waiting)


async def _round(
    card: ModelCard, plan: Plan, easel: Easel, service: Served, bare: BareProcess, one: Any, *, turned: bool
) -> _Round:
    found = _Round()
    for size, batches in ((1, _SINGLES), (FULL, _FULL_BATCHES)):
        run = await bare.run(batch_of(card, size), batches)
        found.bare_per_s[size] = size * batches / run.seconds
        found.bare_cpu_ms[size] = run.cpu_seconds / (size * batches) * 1000
    for clients, requests in _CLIENTS.items():
        number = max(2, clients, round(requests * plan.share))
        turns = [
            partial(_ask_easel, found, easel, clients, number),
            partial(_ask_service, found, service, clients, number),
        ]
        # Neither may always have the machine as the other left it.
        for turn in reversed(turns) if turned else turns:
            await turn()
            one()
    # Last: the worker changes its model for it, and back.
    found.nothing_ms = (await crowd(1, _NOTHING, easel.ask_for_nothing)).latencies_ms[1:]
    await crowd(FULL, FULL, easel.ask)
    return found


async def _ask_easel(found: _Round, easel: Easel, clients: int, requests: int) -> None:
    names = (
        "easel_engine_idle_while_work_waits_seconds_total",
        "easel_generation_batch_images_sum",
        "easel_generation_batch_images_count",
    )
    before, cpu_before = [easel.worker.metric(name) for name in names], easel.cpu_seconds()
    found.easel[clients] = made = await crowd(clients, requests, easel.ask)
    cpu = easel.cpu_seconds()
    found.cpu_ms[clients] = {
        part: (cpu[part] - was) / len(made.latencies_ms) * 1000 for part, was in cpu_before.items()
    }
    idle, pictures, batches = (easel.worker.metric(name) - was for name, was in zip(names, before, strict=True))
    found.idle[clients] = idle / made.seconds
    found.batches[clients] = pictures / batches if batches else 0.0


async def _ask_service(found: _Round, service: Served, clients: int, requests: int) -> None:
    found.service[clients] = await crowd(clients, requests, service.ask)


def _report(contests: Mapping[int, Contest], rounds: Sequence[_Round], plan: Plan, waiting: str) -> Report:
    busy = max(_CLIENTS)
    path_ms = median(_all(one.nothing_ms for one in rounds))
    against_service = {
        clients: Spread.of_ratios(
            [one.easel[clients].per_s for one in rounds], [one.service[clients].per_s for one in rounds]
        )
        for clients in _CLIENTS
    }
    line: dict[str, float | int] = {
        "engine_vs_bare": round(contests[FULL].ratio.median, 3),
        "worker_vs_bare": round(
            Spread.of_ratios(
                [one.easel[busy].per_s for one in rounds], [one.bare_per_s[FULL] for one in rounds]
            ).median,
            3,
        ),
        "worker_vs_service": round(min(against_service[clients].median for clients in _CLIENTS if clients > 1), 3),
        "latency_vs_bare_single": round(
            median((_p50(one.easel[1]) - median(one.nothing_ms)) * one.bare_per_s[1] / 1000 for one in rounds), 3
        ),
    }
    details = {
        "pairs": plan.pairs,
        "rounds": [asdict(one) for one in rounds],
        "bare_omp_wait_policy": waiting,
        "service_sha256": hashlib.sha256(Path(usual_service.__file__).read_bytes()).hexdigest(),
        "batch_sizes": pairs_details(contests),
    }
    tables = [
        pairs_table(contests),
        _rates(rounds, against_service),
        _latencies(rounds, path_ms),
        _processor(rounds),
        _bars(line, rounds),
    ]
    return Report(
        "engine", line, tables, details, plot=partial(plot, crowds(rounds), [one.bare_per_s for one in rounds])
    )


def crowds(rounds: Sequence[_Round]) -> dict[str, dict[int, list[Crowd]]]:
    """What clients saw in all rounds: who served them → how many there were."""
    return {
        "easel": {clients: [one.easel[clients] for one in rounds] for clients in _CLIENTS},
        "usual service": {clients: [one.service[clients] for one in rounds] for clients in _CLIENTS},
    }


def _rates(rounds: Sequence[_Round], against_service: Mapping[int, Spread]) -> Table:
    rows = []
    for clients in _CLIENTS:
        batches, idle = (median(getattr(one, name)[clients] for one in rounds) for name in ("batches", "idle"))
        ours, service = ([getattr(one, name)[clients].per_s for one in rounds] for name in ("easel", "service"))
        rows += [
            [f"{clients} clients, easel", *Spread.of(ours).cells(2), f"{batches:.1f}", f"{idle:.1%}"],
            [f"{clients} clients, usual service", *Spread.of(service).cells(2)],
            [f"{clients} clients, ratio", *against_service[clients].cells(2)],
        ]
    rows += [
        [f"bare loop, batch of {size}", *Spread.of([one.bare_per_s[size] for one in rounds]).cells(2)]
        for size in (1, FULL)
    ]
    return table_of(["pictures a second", "median", "lowest", "highest", "batch", "idle"], rows)


def _latencies(rounds: Sequence[_Round], path_ms: float) -> Table:
    rows = [
        [f"{clients} clients, {name}", *(f"{percentile(_latency(found), each):.0f}" for each in (50, 95, 99))]
        for name, by_clients in crowds(rounds).items()
        for clients, found in by_clients.items()
    ]
    rows.append(["easel, the path's own, 1 client", f"{path_ms:.0f}"])
    rows.append(["bare loop, one call", f"{1000 / median(one.bare_per_s[1] for one in rounds):.0f}"])
    return table_of(["ms until the end is known", "p50", "p95", "p99"], rows)


def _processor(rounds: Sequence[_Round]) -> Table:
    """What a picture costs beside the engine, and what the engine loses to it."""
    rows = []
    for clients in _CLIENTS:
        found = {part: median(one.cpu_ms[clients][part] for one in rounds) for part in rounds[0].cpu_ms[clients]}
        rows.append([f"{clients} clients", *(f"{each:.1f}" for each in found.values()), f"{sum(found.values()):.1f}"])
    rows += [
        [f"bare loop, batch of {size}", f"{median(one.bare_cpu_ms[size] for one in rounds):.1f}"] for size in (1, FULL)
    ]
    return table_of(["processor time, ms a picture", *rounds[0].cpu_ms[1], "all"], rows)


def _bars(line: Mapping[str, float], rounds: Sequence[_Round]) -> Table:
    """What each figure is to be. On a busy machine they are not reached: this is no verdict, so nothing fails."""
    slower = max(
        median(_p50(one.easel[clients]) / _p50(one.service[clients]) for one in rounds)
        for clients in _CLIENTS
        if clients > 1
    )
    idle = median(one.idle[max(_CLIENTS)] for one in rounds)
    rows = [
        ["the engine's path beside the bare loop", f"{line['engine_vs_bare']:.3f}", "≥ 0.97"],
        ["easel whole, 32 clients, beside the bare loop", f"{line['worker_vs_bare']:.3f}", "≥ 0.85"],
        ["beside the usual service, 8 and 32 clients, the lower", f"{line['worker_vs_service']:.2f}", "≥ 1.6"],
        ["p50 beside that service's, the higher", f"{slower:.2f}", "≤ 0.6"],
        [
            "one client, less the path's own time, beside one bare call",
            f"{line['latency_vs_bare_single']:.2f}",
            "≤ 1.10",
        ],
        ["the engine's idle share while work waits, 32 clients", f"{idle:.1%}", "< 3 %"],
    ]
    return table_of(["what it comes to", "here", "aim"], rows)


def _p50(found: Crowd) -> float:
    return median(found.latencies_ms)


def _latency(found: Sequence[Crowd]) -> list[float]:
    return _all(one.latencies_ms for one in found)


def _all(found: Any) -> list[float]:
    return [value for values in found for value in values]
