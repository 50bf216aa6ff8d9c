"""``easel bench continuous``: the schedule of its measurements, and what is told of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table

from consumer.engine.contract import EngineError
from consumer.engine.process import EngineLostError, EngineProcess
from ops.bench.continuous import real, virtual
from ops.bench.continuous.arrivals import LOADS, MOST, SHORT, Arrival, Outcome, arrivals, asked
from ops.bench.continuous.virtual import KEY, Costs
from ops.bench.report import BenchError, Progress, Report, table_of
from schemas.catalog import ModelCard

__all__ = ["PACKAGES", "Plan", "bench_continuous"]

PACKAGES = ("torch", "diffusers", "transformers", "greenlet", "numpy")
"""What the figures depend on."""

_HANG_S = 600.0
_VIRTUAL = 4_000
"""Pictures of a run in virtual time: it costs nothing."""
_SEED = 7
_Loop = Callable[[EngineProcess, Sequence[Arrival]], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class Plan:
    """``pictures`` of each real run, and so many ``rounds`` of both loops in turn; none: in virtual time alone."""

    pictures: int = 150
    rounds: int = 3


@dataclass(frozen=True, slots=True)
class _Found:
    """One load, both loops side by side; a seed a round."""

    static: Sequence[Outcome]
    continuous: Sequence[Outcome]

    def row(self, name: str) -> list[str]:
        cells = [name]
        for runs in (self.static, self.continuous):
            cells += [f"{median(run.p95(SHORT) for run in runs):.2f}", f"{median(run.p95() for run in runs):.2f}"]
            cells.append(f"{median(run.per_s for run in runs):.2f}")
        return [*cells, f"{self.ratio(SHORT):.2f}", f"{self.rate:.3f}"]

    def ratio(self, steps: int | None) -> float:
        """Of the p95, round by round."""
        pairs = zip(self.continuous, self.static, strict=True)
        return median(mine.p95(steps) / its.p95(steps) for mine, its in pairs)

    @property
    def rate(self) -> float:
        pairs = zip(self.continuous, self.static, strict=True)
        return median(mine.per_s / its.per_s for mine, its in pairs)

    def details(self) -> dict[str, Any]:
        def told(run: Outcome) -> dict[str, float]:
            return {"p95_short_s": run.p95(SHORT), "p95_s": run.p95(), "per_s": run.per_s}

        return {"static": [told(run) for run in self.static], "continuous": [told(run) for run in self.continuous]}


async def bench_continuous(card: ModelCard, plan: Plan, on_progress: Progress) -> Report:
    """Measure what steps cost, run both loops in virtual time by that, and then for real, in turn.

    Raises ``BenchError`` when the model can't be loaded, or a picture is not made.
    """
    done, total = 0, 2 + len(LOADS) * plan.rounds * 2
    engine = EngineProcess({KEY.model: card}, hang_s=_HANG_S)
    try:
        await engine.start(KEY.model)
    except (EngineError, EngineLostError) as error:
        raise BenchError(f"the model can't be loaded: {error}") from None
    try:
        for warm_up in (real.run_static, real.run_continuous):
            await warm_up(engine, [Arrival(number, SHORT, 0.0) for number in range(MOST)])
        on_progress(1, total)
        static, continuous = await real.measure_costs(engine, 3)
        on_progress(done := 2, total)
        most = virtual.capacity(asked(_VIRTUAL, _SEED), static)
        simulated = {load: _simulated(load * most, static, continuous) for load in LOADS}
        found: dict[float, _Found] = {}
        for load in LOADS if plan.rounds else ():
            runs: dict[_Loop, list[Outcome]] = {real.run_static: [], real.run_continuous: []}
            for number in range(plan.rounds):
                arrived = arrivals(plan.pictures, load * most, _SEED + number)
                for run in sorted(runs, key=lambda one: one is real.run_static, reverse=number % 2 == 0):
                    runs[run].append(await run(engine, arrived))
                    on_progress(done := done + 1, total)
            found[load] = _Found(runs[real.run_static], runs[real.run_continuous])
    finally:
        await engine.stop()
    return _report(most, (static, continuous), simulated, found)


def _simulated(per_s: float, static: Costs, continuous: Costs) -> _Found:
    arrived = arrivals(_VIRTUAL, per_s, _SEED)
    return _Found([virtual.static(arrived, static)], [virtual.continuous(arrived, continuous)])


def _report(
    most: float, costs: tuple[Costs, Costs], simulated: Mapping[float, _Found], found: Mapping[float, _Found]
) -> Report:
    told = found or simulated
    line = {
        "short_p95_ratio_80": round(told[0.8].ratio(SHORT), 3),
        "p95_ratio_80": round(told[0.8].ratio(None), 3),
        "rate_ratio_80": round(told[0.8].rate, 3),
        "rate_ratio_95": round(told[0.95].rate, 3),
        "short_p95_ratio_80_virtual": round(simulated[0.8].ratio(SHORT), 3),
        "rate_ratio_95_virtual": round(simulated[0.95].rate, 3),
        "capacity_per_s": round(most, 2),
    }
    details = {
        "costs": {"static": asdict(costs[0]), "continuous": asdict(costs[1])},
        "virtual": {str(load): one.details() for load, one in simulated.items()},
        "real": {str(load): one.details() for load, one in found.items()},
    }
    tables = [_costs_table(*costs), _table("virtual time", simulated)]
    if found:
        tables.append(_table("real", found))
    return Report("continuous", line, tables, details, partial(_plot, told))


def _costs_table(static: Costs, continuous: Costs) -> Table:
    rows = []
    for count in static.step:
        seconds = static.step[count], static.rest[count], continuous.step[count], continuous.rest[count]
        rows.append([str(count), *(f"{1000 * value:.1f}" for value in seconds)])
    return table_of(["ms by pictures", "static: a step", "the rest", "continuous: a step", "the rest"], rows)


def _table(name: str, found: Mapping[float, _Found]) -> Table:
    head = [f"{name}, load", "static: p95 short, s", "p95, s", "pictures/s"]
    head += ["continuous: p95 short, s", "p95, s", "pictures/s", "p95 short, ratio", "rate, ratio"]
    return table_of(head, [one.row(f"{load:.0%}") for load, one in found.items()])


def _plot(found: Mapping[float, _Found], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    latency, rate = figure.subplots(1, 2)
    spots = range(len(found))
    for place, name in ((-0.2, "static"), (0.2, "continuous")):
        runs: list[Sequence[Outcome]] = [getattr(one, name) for one in found.values()]
        latency.bar([x + place for x in spots], [median(r.p95(SHORT) for r in one) for one in runs], 0.38, label=name)
        rate.bar([x + place for x in spots], [median(r.per_s for r in one) for one in runs], 0.38, label=name)
    for axes, label in ((latency, f"p95 latency of {SHORT} steps, s"), (rate, "pictures a second")):
        axes.set_xticks(list(spots), [f"{load:.0%}" for load in found])
        axes.set(xlabel="load, of what static batches get done", ylabel=label)
        axes.grid(axis="y", alpha=0.3)
    figure.legend(*rate.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    figure.savefig(path)
