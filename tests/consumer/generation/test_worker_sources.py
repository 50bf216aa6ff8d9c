"""The whole worker with pictures from pictures: made, told by their steps, and what is broken fails alone."""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from schemas.envelope import Envelope
from schemas.errors import Code, ErrorType
from schemas.events import GenerationStep
from schemas.jobs import JobFailed, JobStarted, JobSucceeded
from schemas.sources import source_key
from tests.consumer.generation.harness import Installation, WorkerProcess, job, little_memory
from transport.objects import ObjectStore

Start = Callable[..., WorkerProcess]
DRAWN = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)


async def put(objects: ObjectStore, pixels: np.ndarray, tenant: str = "acme") -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    key = source_key(tenant, hashlib.sha256(file.getvalue()).hexdigest(), "png")
    await objects.put(key, file.getvalue(), content_type="image/png")
    return key


async def test_sources_are_used_and_a_broken_one_ends_its_request_alone(
    installation: Installation, worker: Start, objects: ObjectStore
) -> None:
    await objects.ensure_bucket()
    half = np.zeros((64, 64), dtype=np.uint8)
    half[:, :32] = 255
    source, mask = await put(objects, DRAWN), await put(objects, half)
    changed = job(source_image=source, strength=0.5)
    painted = job(source_image=source, mask_image=mask, strength=1.0, images=2)
    missing = job(source_image=source_key("acme", "0" * 64, "png"), strength=0.5)
    misnamed = job(source_image=source.replace(".png", ".webp"), mask_image=mask[:-7] + "abc.png", strength=0.5)
    plain = job()
    running = worker()
    await installation.assign(changed, painted, missing, misnamed, plain, partition=0)
    ends = {end.request_id: end for end in await installation.ends(5)}

    made = ends[painted.request_id]
    assert isinstance(made, JobSucceeded)
    for output in made.outputs:
        pixels = np.asarray(Image.open(io.BytesIO(await objects.get(output.key))))
        assert np.array_equal(pixels[:, 32:], DRAWN[:, 32:])
        assert not np.array_equal(pixels[:, :32], DRAWN[:, :32])
    assert isinstance(ends[changed.request_id], JobSucceeded)
    assert isinstance(ends[plain.request_id], JobSucceeded)

    for asked in (missing, misnamed):
        failed = ends[asked.request_id]
        assert isinstance(failed, JobFailed)
        assert failed.error.code in {Code.SOURCE_NOT_FOUND, Code.SOURCE_INVALID}
        assert failed.error.type is ErrorType.INVALID_REQUEST
        assert not failed.retryable
    started = {event.request_id for event in await installation.until(JobStarted, 3)}
    assert started == {changed.request_id, painted.request_id, plain.request_id}
    assert running.metric("easel_engine_restarts_total") == 0

    last = {}
    for record in await installation.records(installation.topics.progress):
        envelope = Envelope.read(record.headers, record.value)
        if envelope.type == GenerationStep.TYPE:
            event = GenerationStep.model_validate_json(envelope.data)
            last[event.request_id] = (event.step, event.steps)
    assert last[changed.request_id] == (2, 2)
    assert last[painted.request_id] == last[plain.request_id] == (4, 4)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on memory is Linux's")
async def test_a_worker_without_memory_blames_nobody_and_goes_on(
    installation: Installation, worker: Start, objects: ObjectStore
) -> None:
    running = await worker().ready()
    asked = job(source_image=await put(objects, np.zeros((4_096, 8_192, 4), dtype=np.uint8)), strength=0.5)
    with little_memory(96, running.pid):
        await installation.assign(asked)
        (failed,) = await installation.ends(1)
    assert isinstance(failed, JobFailed)
    assert (failed.error.code, failed.error.type) == (Code.INTERNAL_ERROR, ErrorType.SERVER)
    assert failed.error.param is None
    assert failed.retryable
    # Whichever asked for the memory that was not there: the picture, or the stack of a thread that was to read it.
    log = running.log.read_text()
    assert "MemoryError" in log or "can't start new thread" in log, log
    await installation.assign(asked.model_copy(update={"attempt": 2}))
    (made,) = await installation.until(JobSucceeded)
    assert made.request_id == asked.request_id
