"""The loop around the engine: take the next batch, announce it, run it, hand on what came of it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence

from consumer.engine.contract import Batch, EngineError, Item, Made, Missed, Shape
from consumer.engine.process import BatchDone, EngineLostError, EngineProcess
from consumer.faults import fault
from consumer.generation.backlog import Backlog
from consumer.generation.batching import BatchKey, Piece
from consumer.generation.encoding import Picture
from consumer.generation.finishing import Finisher
from consumer.generation.jobs import Job
from consumer.generation.pace import Pace
from consumer.generation.reports import Reports
from consumer.logs import logger, prompt_facts
from consumer.metrics import Metrics
from schemas.catalog import ModelCard
from schemas.errors import Code

__all__ = ["EngineLoop"]

_log = logger("generation")


class EngineLoop:
    """Keeps the engine busy. One batch runs at a time; what was made is stored while the next one runs."""

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
        self._cards = cards
        self._metrics = metrics
        self._stopping = False
        self._busy = False
        self._running: dict[str, Piece[Job]] = {}
        """The pictures of the batch that was taken, by the names that the engine knows them by."""
        self.pace = Pace()
        self._idle_since = time.monotonic()

    @property
    def busy(self) -> bool:
        """Whether a batch has been taken and has not ended; otherwise ``run`` may be cancelled."""
        return self._busy

    def stop(self) -> None:
        """No new batch; the one that runs may end."""
        self._stopping = True
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
            self._give_up(job)

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
        self._running = {_item_id(piece): piece for piece in pieces}
        work = sum(piece.owner.work / piece.owner.parameters.images for piece in pieces)
        self.pace.begin(work / len(pieces) * self._backlog.batcher.room(key), time.monotonic())
        try:
            await self._announce(_by_job(pieces))
            if not self._stopping:
                await self._generate(key, self._still_wanted(pieces), work)
        finally:
            self._running = {}
            self._idle_since = time.monotonic()
            self.pace.end(self._idle_since)

    def _still_wanted(self, pieces: Sequence[Piece[Job]]) -> list[Piece[Job]]:
        """Without the jobs that were called off while their start was on its way."""
        wanted = [piece for piece in pieces if not piece.owner.dropped]
        self._running = {_item_id(piece): piece for piece in wanted}
        for job in _by_job(pieces):
            if job.dropped and not job.closing:
                self._give_up(job)
        return wanted

    async def _generate(self, key: BatchKey, pieces: Sequence[Piece[Job]], work: float) -> None:
        if not pieces:
            return
        by_job = _by_job(pieces)
        batch = _batch(key, pieces)
        began = time.monotonic()
        self._metrics.inc("easel_engine_idle_while_work_waits_seconds_total", began - self._idle_since)
        self._metrics.inc("easel_generation_batches_total")
        self._metrics.observe("easel_generation_batch_images", len(pieces))

        def on_step(step: int) -> None:
            self.pace.progress(work / (key.steps - key.skipped), time.monotonic())
            self._on_step(step, by_job)

        try:
            done = await self._engine.generate(batch, on_step, self._on_left)
        except EngineLostError as error:
            self._lost(by_job, error)
        except EngineError as error:
            self._failed(key, by_job, error)
        else:
            self._made(by_job, pieces, done)

    async def _announce(self, by_job: Mapping[Job, Sequence[int]]) -> None:
        jobs = [job for job in by_job if not job.announced]
        if len(by_job) == 1:
            for job in jobs:
                # By itself, as it happens; what is said of its start is to stay true.
                job.alone = job.alone or len(by_job[job]) == job.parameters.images
        fault("generation.before_started")
        await self._reports.started(jobs)
        fault("generation.after_started")
        for job in jobs:
            _log.info(
                "job started",
                alone=job.alone,
                start=job.starts,
                **prompt_facts(job.parameters.prompt),
                **job.log_facts(),
            )

    def _on_left(self, name: str, steps: int) -> None:
        """A picture that was called off has left the batch."""
        job = self._running.pop(name).owner
        job.steps_run += steps
        if all(piece.owner is not job for piece in self._running.values()):
            self._give_up(job)

    def _on_step(self, step: int, by_job: Mapping[Job, Sequence[int]]) -> None:
        for job, indices in by_job.items():
            if job.dropped:
                continue
            parameters = job.parameters
            behind = (len(job.saves) + len(job.missed)) * parameters.denoising_steps
            self._reports.step(job, (behind + step * len(indices)) // parameters.images)

    def _made(self, by_job: Mapping[Job, Sequence[int]], pieces: Sequence[Piece[Job]], done: BatchDone) -> None:
        self._metrics.observe("easel_generation_engine_seconds", done.done.seconds)
        self._metrics.inc("easel_text_embeddings_total", done.done.texts.kept, result="kept")
        self._metrics.inc("easel_text_embeddings_total", done.done.texts.made, result="made")
        for job in by_job:
            job.engine_s += done.done.seconds
            # Of a job in several batches, the last: a file that changes in between is a new revision.
            job.weights_revision = done.weights_revision
        made: list[Picture] = []
        for piece, result in zip(pieces, done.done.results, strict=True):
            job = piece.owner
            if job.closing or (job.dropped and not job.canceled):
                continue
            if isinstance(result, Made):
                made.append(Picture(job, piece.index, result.pixels))
            elif isinstance(result, Missed):
                job.missed[piece.index] = result
        self._finisher.save(made)
        for job in by_job:
            self._settle(job)

    def _failed(self, key: BatchKey, by_job: Mapping[Job, Sequence[int]], error: EngineError) -> None:
        """The whole batch failed: with less company, if it had any, else for good."""
        images = sum(len(indices) for indices in by_job.values())
        _log.warning("a batch failed", code=error.code.value, reason=error.message, images=images, jobs=len(by_job))
        if error.code is Code.OUT_OF_MEMORY:
            self._metrics.inc("easel_generation_out_of_memory_total", model=key.model)
        if error.code is Code.OUT_OF_MEMORY and images > 1:
            self._backlog.batcher.lower(key, images // 2)
            self._again(by_job, alone=False)
        elif error.code is Code.MODEL_UNAVAILABLE:
            for job in by_job:
                if not job.closing:
                    self._finisher.fail(job, error.code, error.message)
        elif len(by_job) > 1:
            # One of them may be at fault for all.
            self._again(by_job, alone=True)
        else:
            for job, indices in by_job.items():
                for index in indices:
                    job.missed[index] = Missed(str(index), error.code, error.message)
                self._settle(job)

    def _lost(self, by_job: Mapping[Job, Sequence[int]], error: EngineLostError) -> None:
        """The child is gone, and the batch with it: each job is tried again by itself, to tell which one does it."""
        if self._stopping and error.cause == "stopped":
            return
        _log.error("the engine was lost", cause=error.cause, reason=error.message, jobs=len(by_job))
        for job in by_job:
            job.announced = False
        if len(by_job) == 1:
            (job,) = by_job
            job.losses += 1
            if job.losses >= self._attempts(job) and not job.dropped:
                # Nothing else was there to be blamed, unless it is the model that can't be loaded.
                code = Code.ENGINE_LOST if error.cause == "load" else Code.POISON
                self._finisher.fail(job, code, f"{error.how}, {job.losses} times while it made nothing but this")
                return
        self._again(by_job, alone=True)

    def _again(self, by_job: Mapping[Job, Sequence[int]], *, alone: bool) -> None:
        # Each goes before all others, so the last one comes first.
        for job, indices in reversed(list(by_job.items())):
            if job.closing:
                continue
            if job.dropped:
                self._give_up(job)
                continue
            job.alone = job.alone or alone
            self._backlog.put_back(job, indices)

    def _settle(self, job: Job) -> None:
        if job.closing:
            return
        if job.made and (job.canceled or not job.dropped):
            self._finisher.finish(job)
        elif job.dropped:
            self._give_up(job)

    def _give_up(self, job: Job) -> None:
        (self._finisher.cancel if job.canceled else self._finisher.drop)(job)

    def _attempts(self, job: Job) -> int:
        card = self._cards.get(job.parameters.model)
        return 1 if card is None else card.attempts


def _by_job(pieces: Sequence[Piece[Job]]) -> dict[Job, list[int]]:
    by_job: dict[Job, list[int]] = defaultdict(list)
    for piece in pieces:
        by_job[piece.owner].append(piece.index)
    return by_job


def _item_id(piece: Piece[Job]) -> str:
    return f"{piece.owner.assigned.request_id}/{piece.owner.assigned.attempt}/{piece.index}"


def _batch(key: BatchKey, pieces: Sequence[Piece[Job]]) -> Batch:
    shape = Shape(key.width, key.height, key.steps, key.guidance, key.negative, key.adapters, key.kind, key.skipped)
    items = []
    for piece in pieces:
        parameters, source = piece.owner.parameters, piece.owner.source
        items.append(
            Item(
                _item_id(piece),
                parameters.prompt,
                parameters.seeds()[piece.index],
                parameters.negative_prompt or None,
                source.pixels if source else None,
                source.mask if source else None,
            )
        )
    return Batch(key.model, shape, tuple(items))
