"""Both loops on the engine as the worker has it: the supervised child, the pipe, the batcher, a report a step."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from consumer.engine.contract import Batch, EngineError, Item, Missed, Row, Shape
from consumer.engine.process import EngineLostError, EngineProcess
from consumer.engine.wire import Canceled, Ended, RowEvent, RowsFailed
from consumer.generation.batching import Batcher, BatchKey, Piece
from ops.bench.continuous.arrivals import MOST, Arrival, Outcome
from ops.bench.continuous.virtual import KEY, Costs, key_of
from ops.bench.engine.pairs import PROMPTS
from ops.bench.report import BenchError

__all__ = ["measure_costs", "run_continuous", "run_static"]

_FEW, _MANY = 4, 12


async def run_static(engine: EngineProcess, arrived: Sequence[Arrival]) -> Outcome:
    """Batches of equal steps, one after the other."""
    loop = _Loop(arrived, continuous=False)
    while (taken := await loop.next()) is not None:
        key, pieces = taken
        items = tuple(_item(piece.owner) for piece in pieces)
        try:
            done = await engine.generate(Batch(key.model, _shape(key.steps), items), lambda _: None)
        except (EngineError, EngineLostError) as error:
            raise BenchError(f"the engine made no pictures: {error}") from None
        for piece, result in zip(pieces, done.done.results, strict=True):
            if isinstance(result, Missed | Canceled):
                raise BenchError("the engine missed a picture")
            loop.end(piece.owner)
    return loop.outcome()


async def run_continuous(engine: EngineProcess, arrived: Sequence[Arrival]) -> Outcome:
    """Rows that join and leave."""
    loop = _Loop(arrived, continuous=True)
    while (taken := await loop.next()) is not None:
        running = {str(piece.owner.number): piece.owner for piece in taken[1]}

        def join(running: dict[str, Arrival] = running) -> None:
            more = [piece.owner for piece in loop.more(MOST - len(running))]
            if more and engine.join([_row(one) for one in more]):
                running |= {str(one.number): one for one in more}
            else:
                loop.put_back(more)

        def hear(event: RowEvent, running: dict[str, Arrival] = running) -> None:
            if isinstance(event, RowsFailed):
                raise BenchError(f"the engine made no pictures: {event.message}")
            if isinstance(event, Ended):
                loop.end(running.pop(event.result.id))
                if running:
                    join(running)

        loop.on_arrival = join
        try:
            await engine.generate_rows(KEY.model, [_row(one) for one in running.values()], hear)
        except (EngineError, EngineLostError) as error:
            raise BenchError(f"the engine made no pictures: {error}") from None
        loop.on_arrival = None
    return loop.outcome()


async def measure_costs(engine: EngineProcess, rounds: int) -> tuple[Costs, Costs]:
    """What a step and the rest take for each number of pictures: of static batches, and of rows."""
    found: list[Costs] = []
    for run in (run_static, run_continuous):
        step, rest = {}, {}
        for count in range(1, MOST + 1):
            seconds = {}
            for steps in (_FEW, _MANY):
                together = [Arrival(number, steps, 0.0) for number in range(count)]
                runs = [max((await run(engine, together)).ended) for _ in range(rounds)]
                # What else runs on the machine only adds.
                seconds[steps] = min(runs)
            step[count] = max(1e-6, (seconds[_MANY] - seconds[_FEW]) / (_MANY - _FEW))
            rest[count] = max(0.0, seconds[_FEW] - _FEW * step[count])
        found.append(Costs(step, rest))
    return found[0], found[1]


class _Loop:
    """The arrivals as they come, those that wait, and when each had its picture."""

    def __init__(self, arrived: Sequence[Arrival], *, continuous: bool) -> None:
        self.on_arrival: object = None
        self._arrived = arrived
        self._continuous = continuous
        self._batcher: Batcher[Arrival] = Batcher(lambda _: MOST)
        self._ended: dict[int, float] = {}
        self._came = asyncio.Event()
        self._began = time.monotonic()
        self._coming = asyncio.create_task(self._come())

    async def next(self) -> tuple[BatchKey, list[Piece[Arrival]]] | None:
        """The next batch, when there is one; None after the last."""
        while len(self._ended) < len(self._arrived):
            taken = self._batcher.next()
            if taken is not None:
                return taken
            self._came.clear()
            await self._came.wait()
        await self._coming
        return None

    def more(self, room: int) -> list[Piece[Arrival]]:
        return self._batcher.more(KEY, room)

    def put_back(self, arrived: Sequence[Arrival]) -> None:
        for one in reversed(arrived):
            self._batcher.put_back(one, KEY, range(1), alone=False)

    def end(self, one: Arrival) -> None:
        self._ended[one.number] = time.monotonic() - self._began

    def outcome(self) -> Outcome:
        return Outcome(self._arrived, [self._ended[one.number] for one in self._arrived])

    async def _come(self) -> None:
        for one in self._arrived:
            await asyncio.sleep(max(0.0, one.at - (time.monotonic() - self._began)))
            self._batcher.add(one, KEY if self._continuous else key_of(one.steps), range(1))
            self._came.set()
            if callable(self.on_arrival):
                self.on_arrival()


def _shape(steps: int) -> Shape:
    return Shape(KEY.width, KEY.height, steps, 3.0)


def _item(one: Arrival) -> Item:
    return Item(str(one.number), PROMPTS[one.number % len(PROMPTS)], one.number)


def _row(one: Arrival) -> Row:
    return Row(_shape(one.steps), _item(one))
