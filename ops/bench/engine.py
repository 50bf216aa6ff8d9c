"""``easel bench engine``: pictures a second through easel's engine process, beside a bare diffusers loop.

Ours is what the worker calls: the supervised child, the pipe, a report after every step, the pictures back as arrays.
The bare loop calls the same pipeline with the same batch and thread count, in a process of its own.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median

import psutil
from rich.table import Table

from consumer.engine.contract import Batch, EngineError, Item, Made, Shape
from consumer.engine.cores import available_cores
from consumer.engine.process import EngineLostError, EngineProcess
from ops.bench.bare_process import BareProcess, best_bare_process
from ops.bench.report import BenchError, Progress, Report, Run, Spread, table_of
from schemas.catalog import ModelCard

__all__ = ["MODEL", "PACKAGES", "bench_engine"]

MODEL = "easel-tiny"
PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "numpy")
"""What the figures depend on."""

_BATCHES = {1: 8, 8: 3}
"""Pictures in a batch → batches in one measurement: a second or two of each on two cores."""
_REPORTED = 8
"""The batch size of the last line: engines are run in batches."""
_HANG_S = 600.0

_PROMPTS = (
    "a small red circle left of a large blue square on a white background",
    "a large green triangle on a yellow background",
    "a small purple star on a white background",
    "a large orange square right of a small green circle on a grey background",
)


@dataclass(slots=True)
class _Contest:
    """What was measured at one batch size, one run of each a pair."""

    pictures: int
    """In one run."""
    ours: list[Run] = field(default_factory=list)
    bare: list[Run] = field(default_factory=list)

    def per_s(self, runs: Sequence[Run]) -> list[float]:
        return [self.pictures / run.seconds for run in runs]

    def cpu_ms(self, runs: Sequence[Run]) -> list[float]:
        """Processor time a picture, in ms."""
        return [run.cpu_seconds / self.pictures * 1000 for run in runs]

    @property
    def ratio(self) -> Spread:
        return Spread.of_ratios(self.per_s(self.ours), self.per_s(self.bare))

    @property
    def same(self) -> list[bool]:
        """Of each picture of a batch, whether both made the same one, bit for bit."""
        return [mine == its for mine, its in zip(self.ours[-1].sha256, self.bare[-1].sha256, strict=True)]


async def bench_engine(card: ModelCard, pairs: int, on_progress: Progress) -> Report:
    """Measure ``pairs`` pairs at each batch size, the two loops in turn.

    Raises ``BenchError`` when the model can't be loaded, or a loop ends before it should.
    """
    engine = EngineProcess({MODEL: card}, hang_s=_HANG_S)
    try:
        await engine.start(MODEL)
        async with best_bare_process(card, available_cores(), _batch(card, _REPORTED)) as bare:
            waiting = bare.waiting
            contests = await _measure(card, engine, bare, pairs, on_progress)
    except (EngineError, EngineLostError) as error:
        raise BenchError(str(error)) from error
    finally:
        await engine.stop()
    return _report(contests, pairs, waiting)


async def _measure(
    card: ModelCard, engine: EngineProcess, bare: BareProcess, pairs: int, on_progress: Progress
) -> Mapping[int, _Contest]:
    contests: dict[int, _Contest] = {}
    total, done = len(_BATCHES) * (pairs + 1), 0
    for size, batches in _BATCHES.items():
        batch, contest = _batch(card, size), _Contest(size * batches)
        # Unmeasured: kernels are chosen, and memory is taken, at a first call.
        await _run_ours(engine, batch, 1)
        await bare.run(batch, 1)
        on_progress(done := done + 1, total)
        for number in range(pairs):
            # Neither may always have the machine as the other left it.
            for mine in (True, False) if number % 2 == 0 else (False, True):
                if mine:
                    contest.ours.append(await _run_ours(engine, batch, batches))
                else:
                    contest.bare.append(await bare.run(batch, batches))
            on_progress(done := done + 1, total)
        contests[size] = contest
    return contests


async def _run_ours(engine: EngineProcess, batch: Batch, batches: int) -> Run:
    child = psutil.Process(engine.pid)
    made: list[Made] = []
    began, cpu_began = time.perf_counter(), _cpu_seconds(child)
    for _ in range(batches):
        done = (await engine.generate(batch, lambda _: None)).done
        made = [result for result in done.results if isinstance(result, Made)]
        if len(made) != len(batch.items):
            raise BenchError(f"the engine made {len(made)} of {len(batch.items)} pictures; its log says why")
    seconds, cpu_seconds = time.perf_counter() - began, _cpu_seconds(child) - cpu_began
    return Run(seconds, cpu_seconds, [hashlib.sha256(picture.pixels.tobytes()).hexdigest() for picture in made])


def _cpu_seconds(child: psutil.Process) -> float:
    """The child's processor time and ours, which is the price of the pipe."""
    times = child.cpu_times()
    return float(times.user + times.system) + time.process_time()


def _batch(card: ModelCard, size: int) -> Batch:
    given = card.defaults
    items = tuple(Item(str(index), _PROMPTS[index % len(_PROMPTS)], seed=index) for index in range(size))
    return Batch(MODEL, Shape(given.width, given.height, given.steps, given.guidance), items)


def _report(contests: Mapping[int, _Contest], pairs: int, waiting: str) -> Report:
    reported = contests[_REPORTED]
    line: dict[str, float | int] = {
        "engine_vs_bare": round(reported.ratio.median, 3),
        "engine_images_per_s": round(Spread.of(reported.per_s(reported.ours)).median, 2),
        "bare_images_per_s": round(Spread.of(reported.per_s(reported.bare)).median, 2),
        "batch": _REPORTED,
        "cores": available_cores(),
    }
    details = {
        "pairs": pairs,
        "bare_omp_wait_policy": waiting,
        "batch_sizes": {
            str(size): {
                "pictures": contest.pictures,
                "easel": [asdict(run) for run in contest.ours],
                "bare": [asdict(run) for run in contest.bare],
                "same_pictures": contest.same.count(True),
            }
            for size, contest in contests.items()
        },
    }
    return Report("engine", line, [_table(contests)], details)


def _table(contests: Mapping[int, _Contest]) -> Table:
    rows: list[list[str]] = []
    for size, contest in contests.items():
        our_cpu, bare_cpu = (median(contest.cpu_ms(runs)) for runs in (contest.ours, contest.bare))
        rows += [
            [f"batch of {size}, easel", *Spread.of(contest.per_s(contest.ours)).cells(2), f"{our_cpu:.0f}"],
            [f"batch of {size}, bare", *Spread.of(contest.per_s(contest.bare)).cells(2), f"{bare_cpu:.0f}"],
            [f"batch of {size}, ratio", *contest.ratio.cells(3), f"{bare_cpu / our_cpu:.3f}"],
            [f"batch of {size}, same pictures", f"{contest.same.count(True)} of {size}"],
        ]
    return table_of(["pictures a second", "median", "lowest", "highest", "CPU ms each"], rows)
