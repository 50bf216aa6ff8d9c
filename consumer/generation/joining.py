"""Pictures that run together, each at a step of its own: who comes joins those that run, as long as there is room."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence

from consumer.engine.contract import EngineError
from consumer.engine.process import EngineLostError, EngineProcess
from consumer.engine.wire import Ended, Left, RowEvent, RowsFailed, Stepped
from consumer.generation.announcing import announce
from consumer.generation.backlog import Backlog
from consumer.generation.batching import BatchKey, Piece
from consumer.generation.finishing import Finisher
from consumer.generation.jobs import Job
from consumer.generation.pace import Pace
from consumer.generation.pieces import by_job, name_of, rows_of
from consumer.generation.reports import Reports
from consumer.generation.verdicts import Verdicts
from consumer.metrics import Metrics

__all__ = ["RowRunner"]

_ADAPTERS_S = 60.0
"""Nothing joins a run with adapters that is older: a file that has changed is taken up between runs."""


class RowRunner:
    """Runs rows until none is left.

    ``running``: what the loop holds as running, kept up to date here; ``on_left`` takes a canceled one out of it.
    """

    def __init__(
        self,
        backlog: Backlog,
        engine: EngineProcess,
        finisher: Finisher,
        reports: Reports,
        verdicts: Verdicts,
        metrics: Metrics,
        pace: Pace,
        running: dict[str, Piece[Job]],
        on_left: Callable[[str, int], None],
    ) -> None:
        self._backlog = backlog
        self._engine = engine
        self._finisher = finisher
        self._reports = reports
        self._verdicts = verdicts
        self._metrics = metrics
        self._pace = pace
        self._running = running
        self._on_left = on_left
        self._given: dict[str, Piece[Job]] = {}
        """Those of the running that the engine has; the start of the others is on its way."""
        self._steps: dict[str, int] = {}
        self._most = 0
        self._open = False
        self._stopping = False

    def stop(self) -> None:
        """Nothing joins any more."""
        self._stopping = True

    async def run(self, key: BatchKey, pieces: Sequence[Piece[Job]]) -> None:
        """Make these pictures, whose start is announced, and those that join them."""
        self._given = {name_of(piece): piece for piece in pieces}
        self._steps = {}
        self._most = len(pieces)
        self._open = True
        joining = asyncio.create_task(self._let_join(key), name="joining")
        try:
            await self._engine.generate_rows(key.model, rows_of(pieces), lambda event: self._hear(key, event))
        except EngineLostError as error:
            if not (self._stopping and error.cause == "stopped"):
                self._verdicts.lost(by_job(self._taken_out(list(self._given))), error)
        except EngineError as error:
            self._verdicts.failed(key, by_job(self._taken_out(list(self._given))), error)
        except asyncio.CancelledError:
            joining.cancel()
            raise
        finally:
            self._open = False
            self._backlog.changed.set()
            # One that is about to join puts back what it has.
            await asyncio.gather(joining, return_exceptions=True)
            self._metrics.observe("easel_generation_batch_images", self._most)
        if joining.exception() is not None:
            joining.result()

    async def _let_join(self, key: BatchKey) -> None:
        closes = time.monotonic() + (_ADAPTERS_S if key.adapters else math.inf)
        while self._open:
            await self._finisher.room()
            pieces = self._next(key) if time.monotonic() < closes else []
            if pieces:
                await self._join(pieces)
            else:
                self._backlog.changed.clear()
                await self._backlog.changed.wait()

    def _next(self, key: BatchKey) -> list[Piece[Job]]:
        alone = any(piece.owner.alone for piece in self._running.values())
        if alone or self._stopping or not self._open:
            return []
        return self._backlog.take_more(key, self._backlog.batcher.room(key) - len(self._running))

    async def _join(self, pieces: Sequence[Piece[Job]]) -> None:
        names = [name_of(piece) for piece in pieces]
        self._running.update(zip(names, pieces, strict=True))
        await announce(by_job(pieces), self._reports, closed=False)
        wanted = [piece for piece in pieces if not piece.owner.dropped]
        self._open = self._open and not self._stopping and self._engine.join(rows_of(wanted))
        if self._open:
            self._given |= {name_of(piece): piece for piece in wanted}
            self._most = max(self._most, len(self._given))
            self._metrics.inc("easel_generation_joined_total", len(wanted))
        else:
            for job, indices in by_job(self._taken_out([name_of(piece) for piece in wanted])).items():
                self._backlog.put_back(job, indices)
        for piece in pieces:
            if piece.owner.dropped:
                self._on_left(name_of(piece), 0)

    def _hear(self, key: BatchKey, event: RowEvent) -> None:
        if isinstance(event, Stepped):
            self._stepped(event)
        elif isinstance(event, Left):
            del self._given[event.id]
            self._on_left(event.id, event.steps)
        elif isinstance(event, Ended):
            self._ended(event)
        elif isinstance(event, RowsFailed):
            failed = by_job(self._taken_out(event.ids))
            self._verdicts.failed(key, failed, EngineError(event.code, event.message))
        if not isinstance(event, Stepped):
            # There is room.
            self._backlog.changed.set()

    def _stepped(self, event: Stepped) -> None:
        self._steps |= event.steps
        pieces = [self._given[name] for name in event.steps]
        self._pace.progress(sum(map(_step_work, pieces)), time.monotonic())
        for job in by_job(pieces):
            if not job.dropped:
                done = sum(self._steps.get(name, 0) for name, piece in self._given.items() if piece.owner is job)
                behind = (len(job.saves) + len(job.missed)) * job.parameters.denoising_steps
                self._reports.step(job, (behind + done) // job.parameters.images)

    def _ended(self, event: Ended) -> None:
        (piece,) = self._taken_out([event.result.id])
        job = piece.owner
        self._metrics.observe("easel_generation_engine_seconds", event.seconds)
        self._metrics.inc("easel_text_embeddings_total", event.texts.kept, result="kept")
        self._metrics.inc("easel_text_embeddings_total", event.texts.made, result="made")
        job.engine_s += event.seconds
        job.weights_revision = event.weights_revision
        self._verdicts.take([(piece, event.result)])
        if job.made or all(other.owner is not job for other in self._running.values()):
            self._verdicts.settle(job)

    def _taken_out(self, names: Sequence[str] | frozenset[str]) -> list[Piece[Job]]:
        """These pieces, which run no more."""
        found = []
        for name in names:
            piece = self._running.pop(name)
            self._given.pop(name, None)
            self._steps.pop(name, None)
            found.append(piece)
        return found


def _step_work(piece: Piece[Job]) -> float:
    """What a step of it is worth, in milli-units."""
    parameters = piece.owner.parameters
    return piece.owner.work / parameters.images / parameters.denoising_steps
