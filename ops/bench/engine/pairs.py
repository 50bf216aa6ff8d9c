"""The engine's path beside the bare loop: what the worker calls, which is the supervised child, the pipe, and a report
after every step; and the same pipeline with the same batch and thread count in a process of its own."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

import psutil
from rich.table import Table

from consumer.engine.contract import Batch, EngineError, Item, Made, Shape
from consumer.engine.process import EngineLostError, EngineProcess
from ops.bench.bare_process import BareProcess
from ops.bench.report import BenchError, Run, Spread, table_of
from schemas.catalog import ModelCard

__all__ = [
    "BATCHES",
    "FULL",
    "MODEL",
    "PROMPTS",
    "Contest",
    "batch_of",
    "measure_pairs",
    "pairs_details",
    "pairs_table",
]

MODEL = "easel-tiny"

BATCHES = {1: 4, 8: 3}
"""Pictures in a batch → batches in one measurement: a second or two of each on two cores."""
FULL = 8
"""The batch size that is told of: engines are run in batches."""
_HANG_S = 600.0

PROMPTS = (
    "a small red circle left of a large blue square on a white background",
    "a large green triangle on a yellow background",
    "a small purple star on a white background",
    "a large orange square right of a small green circle on a grey background",
)


@dataclass(slots=True)
class Contest:
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


async def measure_pairs(
    card: ModelCard, bare: BareProcess, pairs: int, on_pair: Callable[[], None]
) -> Mapping[int, Contest]:
    """Measure so many pairs at each batch size, the two in turn; ``on_pair`` is told of each, and of the warm-ups.

    Raises ``BenchError`` when the model can't be loaded, or one of the two ends before it should.
    """
    engine = EngineProcess({MODEL: card}, hang_s=_HANG_S)
    contests: dict[int, Contest] = {}
    try:
        await engine.start(MODEL)
        for size, batches in BATCHES.items():
            batch, contest = batch_of(card, size), Contest(size * batches)
            # Unmeasured: kernels are chosen, and memory is taken, at a first call.
            await _run_ours(engine, batch, 1)
            await bare.run(batch, 1)
            on_pair()
            for number in range(pairs):
                # Neither may always have the machine as the other left it.
                for mine in (True, False) if number % 2 == 0 else (False, True):
                    if mine:
                        contest.ours.append(await _run_ours(engine, batch, batches))
                    else:
                        contest.bare.append(await bare.run(batch, batches))
                on_pair()
            contests[size] = contest
    except (EngineError, EngineLostError) as error:
        raise BenchError(str(error)) from error
    finally:
        await engine.stop()
    return contests


def batch_of(card: ModelCard, size: int) -> Batch:
    """A batch of so many pictures, as the model makes them when nothing else is asked for."""
    given = card.defaults
    items = tuple(Item(str(index), PROMPTS[index % len(PROMPTS)], seed=index) for index in range(size))
    return Batch(MODEL, Shape(given.width, given.height, given.steps, given.guidance), items)


def pairs_table(contests: Mapping[int, Contest]) -> Table:
    """For people."""
    rows: list[list[str]] = []
    for size, contest in contests.items():
        our_cpu, bare_cpu = (median(contest.cpu_ms(runs)) for runs in (contest.ours, contest.bare))
        rows += [
            [f"batch of {size}, engine", *Spread.of(contest.per_s(contest.ours)).cells(2), f"{our_cpu:.0f}"],
            [f"batch of {size}, bare", *Spread.of(contest.per_s(contest.bare)).cells(2), f"{bare_cpu:.0f}"],
            [f"batch of {size}, ratio", *contest.ratio.cells(3), f"{bare_cpu / our_cpu:.3f}"],
            [f"batch of {size}, same pictures", f"{contest.same.count(True)} of {size}"],
        ]
    return table_of(["pictures a second", "median", "lowest", "highest", "CPU ms each"], rows)


def pairs_details(contests: Mapping[int, Contest]) -> dict[str, Any]:
    """Every measurement, by batch size."""
    return {
        str(size): {
            "pictures": contest.pictures,
            "easel": [asdict(run) for run in contest.ours],
            "bare": [asdict(run) for run in contest.bare],
            "same_pictures": contest.same.count(True),
        }
        for size, contest in contests.items()
    }


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
