"""From the engine's pictures to the outcome: stored while the next batch runs, the manifest last, then the report."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import NoReturn

from consumer.faults import fault
from consumer.generation.backlog import Backlog
from consumer.generation.beside import Beside
from consumer.generation.encoding import Encoder, Encoding, Picture
from consumer.generation.jobs import Job
from consumer.generation.outputs import Outputs, StoreFailedError
from consumer.generation.reports import Reports
from consumer.generation.traced import mark, trace_job
from consumer.metrics import Metrics
from schemas.errors import Code, ErrorBody, ErrorType
from schemas.outputs import Manifest, Output
from transport.errors import TooLarge
from transport.logs import logger

__all__ = ["Finisher"]

MAX_UNSAVED = 32
"""Pictures in memory beyond which the engine waits for the store."""

_RETRYABLE = frozenset({Code.ENGINE_LOST, Code.STORE_FAILED, Code.MODEL_UNAVAILABLE})

_log = logger("generation")


class Finisher:
    """Ends jobs. Everything here runs beside the engine; ``settled`` waits for all of it."""

    def __init__(
        self, backlog: Backlog, encoder: Encoder, outputs: Outputs, reports: Reports, metrics: Metrics
    ) -> None:
        self._backlog = backlog
        self._encoder = encoder
        self._outputs = outputs
        self._reports = reports
        self._metrics = metrics
        self._beside = Beside()
        self._unsaved = 0
        self._room = asyncio.Event()
        self._room.set()

    async def room(self) -> None:
        """Wait while too many pictures are not stored yet."""
        await self._room.wait()

    def save(self, pictures: Sequence[Picture]) -> None:
        """Begin to store these."""
        self._unsaved += len(pictures)
        if self._unsaved >= MAX_UNSAVED:
            self._room.clear()
        for encoding in self._encoder.begin(pictures):
            picture = encoding.picture
            picture.job.saves[picture.index] = self._beside.follow(self._save(encoding))

    def finish(self, job: Job) -> None:
        """Every picture of it was made or missed: end it once they are stored."""
        job.closing = True
        self._beside.begin(self._finish(job))

    def fail(
        self, job: Job, code: Code, message: str, *, param: str | None = None, retryable: bool | None = None
    ) -> None:
        """End it without a picture. ``param``: the field of the request that is at fault, if one is.

        ``retryable``: whether another attempt could end better, where the code alone does not say so.
        """
        job.closing = True
        self._beside.begin(self._fail(job, code, message, param, retryable=retryable))

    def replay(self, job: Job, manifest: Manifest) -> None:
        """An earlier run of it got as far as its manifest: report that."""
        job.closing = True
        self._beside.begin(self._report_success(job, manifest, "replayed"))

    def cancel(self, job: Job) -> None:
        """Its tenant does not want it any more: say how far it came."""
        job.dropped = job.closing = True
        self._backlog.batcher.remove(job)
        self._beside.begin(self._cancel(job))

    def drop(self, job: Job) -> None:
        """Nobody wants it any more, nor a word about it."""
        job.dropped = job.closing = True
        self._end(job, "dropped")

    async def settled(self) -> None:
        """Wait until everything that was begun here has ended."""
        await self._beside.settled()

    async def abandon(self) -> None:
        """Stop everything that has not ended."""
        await self._beside.abandon()

    async def failure(self) -> NoReturn:
        """Wait for what this does not expect, and raise it: a job is held that nobody is at any more."""
        await self._beside.failure()

    async def _save(self, encoding: Encoding) -> Output:
        began = time.monotonic()
        try:
            began_ns = time.time_ns()
            file = await encoding.file()
            mark(encoding.picture.job, "encode", began_ns, index=encoding.picture.index)
            began_ns = time.time_ns()
            output = await self._outputs.save(encoding.picture, file)
            mark(encoding.picture.job, "upload", began_ns, index=encoding.picture.index)
        finally:
            self._unsaved -= 1
            if self._unsaved < MAX_UNSAVED:
                self._room.set()
        self._metrics.observe("easel_generation_store_seconds", time.monotonic() - began)
        self._metrics.inc("easel_images_total", model=encoding.picture.job.parameters.model)
        return output

    async def _finish(self, job: Job) -> None:
        outputs: list[Output] = []
        problem: Exception | None = None
        for index in sorted(job.saves):
            try:
                outputs.append(await job.saves[index])
            except Exception as error:
                problem = problem or error
        try:
            if problem is not None:
                raise problem
            if not outputs:
                # What went wrong comes before what was held back: the latter is told by itself.
                missed = min(job.missed.values(), key=lambda one: one.code is Code.CONTENT_BLOCKED)
                await self._fail(job, missed.code, missed.message)
                return
            manifest = await self._outputs.write_manifest(job, outputs)
        except StoreFailedError as error:
            _log.error("the store failed", reason=str(error), **job.log_facts())
            await self._fail(job, Code.STORE_FAILED, "the object store did not take the pictures")
            return
        except Exception:
            _log.exception("a picture could not be finished", **job.log_facts())
            await self._fail(job, Code.INTERNAL_ERROR, "the worker could not finish this picture")
            return
        await self._report_success(job, manifest, "succeeded")

    async def _report_success(self, job: Job, manifest: Manifest, result: str) -> None:
        fault("generation.before_outcome")
        try:
            await self._reports.succeeded(job, manifest)
        except TooLarge as error:
            # A failure is told in less. Told of neither, admission would wait for ever, and so would what it cost.
            _log.error("an outcome is too large to be told", reason=str(error), **job.log_facts())
            await self._fail(job, Code.INTERNAL_ERROR, "the broker does not take the report of these pictures")
            return
        fault("generation.after_outcome")
        self._end(job, result, images=len(manifest.outputs), engine_s=round(job.engine_s, 3))

    async def _fail(
        self, job: Job, code: Code, message: str, param: str | None = None, *, retryable: bool | None = None
    ) -> None:
        whose = ErrorType.SERVER if param is None and code is not Code.CONTENT_BLOCKED else ErrorType.INVALID_REQUEST
        cause = ErrorBody(message=message, type=whose, param=param, code=code)
        fault("generation.before_outcome")
        await self._reports.failed(job, cause, retryable=code in _RETRYABLE if retryable is None else retryable)
        fault("generation.after_outcome")
        self._end(job, "failed", code=code.value, reason=message)

    async def _cancel(self, job: Job) -> None:
        # Said only now, it is true that nothing more of it will come into the store.
        await asyncio.gather(*job.saves.values(), return_exceptions=True)
        steps_run = job.steps_run + (len(job.saves) + len(job.blocked)) * job.parameters.denoising_steps
        fault("generation.before_canceled")
        await self._reports.canceled(job, steps_run)
        fault("generation.after_canceled")
        self._end(job, "canceled", steps_run=steps_run)

    def _end(self, job: Job, result: str, **facts: object) -> None:
        self._backlog.end(job)
        self._reports.forget([job])
        trace_job(job, result)
        self._metrics.inc("easel_generation_jobs_total", result=result)
        _log.info("job ended", result=result, **facts, **job.log_facts())
