"""The loop around the engine: take the next batch, announce it, run it, hand on what came of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from consumer.engine.contract import EngineError
from consumer.engine.process import BatchDone, EngineLostError, EngineProcess
from consumer.generation.announcing import announce
from consumer.generation.backlog import Backlog
from consumer.generation.batching import BatchKey, Piece
from consumer.generation.finishing import Finisher
from consumer.generation.jobs import Job
from consumer.generation.joining import RowRunner
from consumer.generation.pace import Pace
from consumer.generation.pieces import batch_of, by_job, name_of
from consumer.generation.reports import Reports
from consumer.generation.traced import mark
from consumer.generation.verdicts import Verdicts
from consumer.metrics import Metrics
from schemas.catalog import ModelCard

__all__ = ["EngineLoop"]


class EngineLoop:
    """Keeps the engine busy. One batch, or one run of rows, at a time; what was made is stored meanwhile."""

    def __init__(
        self,
        backlog: Backlog,
        engine: EngineProcess,
        finisher: Finisher,
        reports: Reports,
        cards: Mapping[str, ModelCard],
        metrics: Metrics,
    ) -> None:
        self._backlog = backlog
        self._engine = engine
        self._finisher = finisher
        self._reports = reports
        self._verdicts = Verdicts(backlog, finisher, cards, metrics)
        self._metrics = metrics
        self._stopping = False
        self._busy = False
        self._running: dict[str, Piece[Job]] = {}
        """The pictures that were taken and have not ended, by the names that the engine knows them by."""
        self.pace = Pace()
        self._rows = RowRunner(
            backlog, engine, finisher, reports, self._verdicts, metrics, self.pace, self._running, self._on_left
        )
        self._idle_since = time.monotonic()

    @property
    def busy(self) -> bool:
        """Whether a batch has been taken and has not ended; otherwise ``run`` may be cancelled."""
        return self._busy

    def stop(self) -> None:
        """No new batch; the one that runs may end."""
        self._stopping = True
        self._rows.stop()
        self._backlog.changed.set()

    def drop(self, job: Job, *, canceled: bool) -> None:
        """This job is not wanted any more, ``canceled``: by its tenant. What runs of it stops at its next step.

        One whose pictures are made is finished all the same: they may count.
        """
        if job.closing:
            return
        job.dropped = True
        job.canceled = job.canceled or canceled
        running = [name for name, piece in self._running.items() if piece.owner is job]
        if running:
            self._engine.cancel(running)
        else:
            self._verdicts.give_up(job)

    async def run(self) -> None:
        """Run batches until ``stop``."""
        while not self._stopping:
            if not len(self._backlog.batcher):
                self._backlog.changed.clear()
                await self._backlog.changed.wait()
                # What waits from here on waits for us.
                self._idle_since = max(self._idle_since, time.monotonic())
                continue
            await self._finisher.room()
            # Before the batch is taken: a start that is announced while there is no engine would count as one.
            await self._engine.available()
            taken = self._backlog.take(self._engine.loaded)
            if taken is not None and not self._stopping:
                self._busy = True
                await self._run(*taken)
                self._busy = False

    async def _run(self, key: BatchKey, pieces: Sequence[Piece[Job]]) -> None:
        self._running.update({name_of(piece): piece for piece in pieces})
        work = sum(piece.owner.work / piece.owner.parameters.images for piece in pieces)
        self.pace.begin(work / len(pieces) * self._backlog.batcher.room(key), time.monotonic())
        try:
            await announce(by_job(pieces), self._reports, closed=not key.continuous)
            wanted = self._still_wanted(pieces)
            if wanted and not self._stopping:
                idle_s = time.monotonic() - self._idle_since
                self._metrics.inc("easel_engine_idle_while_work_waits_seconds_total", idle_s)
                self._metrics.inc("easel_generation_batches_total")
                if key.continuous:
                    await self._rows.run(key, wanted)
                else:
                    await self._generate(key, wanted, work)
        finally:
            self._running.clear()
            self._idle_since = time.monotonic()
            self.pace.end(self._idle_since)

    def _still_wanted(self, pieces: Sequence[Piece[Job]]) -> list[Piece[Job]]:
        """Without the jobs that were called off while their start was on its way."""
        for piece in pieces:
            if piece.owner.dropped:
                self._on_left(name_of(piece), 0)
        return [piece for piece in pieces if not piece.owner.dropped]

    async def _generate(self, key: BatchKey, pieces: Sequence[Piece[Job]], work: float) -> None:
        jobs = by_job(pieces)
        self._metrics.observe("easel_generation_batch_images", len(pieces))

        def on_step(step: int) -> None:
            self.pace.progress(work / (key.steps - key.skipped), time.monotonic())
            self._on_step(step, jobs)

        began_ns = time.time_ns()
        try:
            done = await self._engine.generate(batch_of(key, pieces), on_step, self._on_left)
        except EngineLostError as error:
            if not (self._stopping and error.cause == "stopped"):
                self._verdicts.lost(jobs, error)
        except EngineError as error:
            self._verdicts.failed(key, jobs, error)
        else:
            for job in jobs:
                mark(job, "engine", began_ns, batch_images=len(pieces))
            self._made(jobs, pieces, done)

    def _on_left(self, name: str, steps: int) -> None:
        """A picture that was called off has left the batch."""
        job = self._running.pop(name).owner
        job.steps_run += steps
        if not job.closing and all(piece.owner is not job for piece in self._running.values()):
            self._verdicts.give_up(job)

    def _on_step(self, step: int, jobs: Mapping[Job, Sequence[int]]) -> None:
        for job, indices in jobs.items():
            if job.dropped:
                continue
            parameters = job.parameters
            behind = (len(job.saves) + len(job.missed)) * parameters.denoising_steps
            self._reports.step(job, (behind + step * len(indices)) // parameters.images)

    def _made(self, jobs: Mapping[Job, Sequence[int]], pieces: Sequence[Piece[Job]], done: BatchDone) -> None:
        self._metrics.observe("easel_generation_engine_seconds", done.done.seconds)
        self._metrics.inc("easel_text_embeddings_total", done.done.texts.kept, result="kept")
        self._metrics.inc("easel_text_embeddings_total", done.done.texts.made, result="made")
        for job in jobs:
            job.engine_s += done.done.seconds
            # Of a job in several batches, the last: a file that changes in between is a new revision.
            job.weights_revision = done.weights_revision
        self._verdicts.take(zip(pieces, done.done.results, strict=True))
        for job in jobs:
            self._verdicts.settle(job)
