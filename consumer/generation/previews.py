"""Small pictures of how far a request is, as progress: best effort, small, and never in the engine's way."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable, Iterable, Iterator

from PIL import Image

from consumer.engine.contract import Pixels
from consumer.generation.batching import Piece
from consumer.generation.jobs import Job
from consumer.generation.pieces import name_of
from consumer.generation.reports import Reports

__all__ = ["MAX_BYTES", "Previews", "small"]

MAX_BYTES = 11_500
"""Of the file: in base64, with what is said of it, the event stays under 16 kB."""
_SIDE = 256
_QUALITIES = (75, 50, 30, 10)
_INTERVAL_S = 1.0


class Previews:
    """Tells of a picture once a second at most; what comes in between is passed over. ``jobs``: those here."""

    def __init__(self, reports: Reports, jobs: Callable[[], Iterable[Job]]) -> None:
        self._reports = reports
        self._jobs = jobs
        self._tasks: set[asyncio.Task[None]] = set()

    def offer(self, name: str, step: int, pixels: Pixels) -> None:
        """How the picture that the engine knows by this name looks after ``step`` steps. Returns at once."""
        found = next((piece for job in self._jobs() for piece in _pieces(job) if name_of(piece) == name), None)
        if found is None:
            return
        job, index, now = found.owner, found.index, time.monotonic()
        if job.closing or job.dropped or now - job.previewed.get(index, 0.0) < _INTERVAL_S:
            return
        job.previewed[index] = now
        task = asyncio.create_task(self._tell(job, index, step, pixels))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell(self, job: Job, index: int, step: int, pixels: Pixels) -> None:
        data = await asyncio.to_thread(small, pixels, job.parameters.width, job.parameters.height)
        if data and not job.closing:
            self._reports.preview(job, index, step, data)


def _pieces(job: Job) -> Iterator[Piece[Job]]:
    """The pictures of a job that asks for previews."""
    if job.parameters.previews:
        yield from (Piece(job, index) for index in range(job.parameters.images))


def small(pixels: Pixels, width: int, height: int) -> bytes:
    """A JPEG of at most 256 pixels a side and ``MAX_BYTES``, as smooth as cells of latents can be; empty if none is."""
    scale = min(1.0, _SIDE / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    image = Image.fromarray(pixels, "RGB").resize(size, Image.Resampling.BICUBIC)
    for quality in _QUALITIES:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        if file.tell() <= MAX_BYTES:
            return file.getvalue()
    return b""
