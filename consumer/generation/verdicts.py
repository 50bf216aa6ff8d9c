"""What becomes of jobs when the engine is done with pictures of theirs, or has failed at it, or is gone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from consumer.engine.connection import EngineLostError
from consumer.engine.contract import EngineError, Made, Missed
from consumer.engine.wire import Canceled
from consumer.generation.backlog import Backlog
from consumer.generation.batching import BatchKey, Piece
from consumer.generation.checked import note_check
from consumer.generation.encoding import Picture
from consumer.generation.finishing import Finisher
from consumer.generation.jobs import Job
from consumer.metrics import Metrics
from schemas.catalog import ModelCard
from schemas.errors import Code
from transport.logs import logger

__all__ = ["Verdicts"]

_log = logger("generation")


class Verdicts:
    """Ends jobs, or has their pictures made again. ``cards``: the models with the attempts that they are worth."""

    def __init__(self, backlog: Backlog, finisher: Finisher, cards: Mapping[str, ModelCard], metrics: Metrics) -> None:
        self._backlog = backlog
        self._finisher = finisher
        self._cards = cards
        self._metrics = metrics

    def take(self, found: Iterable[tuple[Piece[Job], Made | Missed | Canceled]]) -> None:
        """Pictures are made, or missed. What is not wanted is not kept."""
        made: list[Picture] = []
        for piece, result in found:
            job = piece.owner
            if job.closing or (job.dropped and not job.canceled):
                continue
            note_check(self._metrics, self._cards.get(job.parameters.model), job, piece.index, result)
            if isinstance(result, Made):
                made.append(Picture(job, piece.index, result.pixels))
            elif isinstance(result, Missed):
                job.missed[piece.index] = result
        self._finisher.save(made)

    def settle(self, job: Job) -> None:
        """None of its pictures runs: end it if there is nothing left to do."""
        if job.closing:
            return
        if job.made and (job.canceled or not job.dropped):
            self._finisher.finish(job)
        elif job.dropped:
            self.give_up(job)

    def give_up(self, job: Job) -> None:
        """It is not wanted any more."""
        (self._finisher.cancel if job.canceled else self._finisher.drop)(job)

    def failed(self, key: BatchKey, by_job: Mapping[Job, Sequence[int]], error: EngineError) -> None:
        """All failed together: with less company, if there was any, else for good."""
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
                self.settle(job)

    def lost(self, by_job: Mapping[Job, Sequence[int]], error: EngineLostError) -> None:
        """The child is gone, and these with it: each job is tried again by itself, to tell which one does it."""
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
                self.give_up(job)
                continue
            job.alone = job.alone or alone
            self._backlog.put_back(job, indices)

    def _attempts(self, job: Job) -> int:
        card = self._cards.get(job.parameters.model)
        return 1 if card is None else card.attempts
