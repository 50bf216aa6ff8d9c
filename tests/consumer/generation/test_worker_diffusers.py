"""The whole worker with the model that is shipped: pictures alike in any company, and errors of a real pipeline."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from consumer.engine.weights import weights_revision
from schemas.errors import Code
from schemas.jobs import JobFailed, JobSucceeded
from schemas.settings import Settings
from tests.consumer.generation.harness import Installation, WorkerProcess, job, succeeded
from transport.objects import ObjectStore

MODEL = Path(__file__).resolve().parents[3] / "models" / "easel-tiny"
CATALOGUE = f"""
models:
  easel-tiny:
    pipeline: {MODEL}
    max_batch_images: 4
    defaults: {{width: 96, height: 96, steps: 4, guidance: 3.0}}
"""
SHAPE: dict[str, Any] = {"model": "easel-tiny", "width": 96, "height": 96, "steps": 4, "guidance": 3.0}

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
async def drawing(settings: Settings, tmp_path: Path) -> AsyncIterator[tuple[Installation, WorkerProcess]]:
    models = tmp_path / "models.yaml"
    models.write_text(CATALOGUE)
    installation = await Installation.make(settings, models)
    running = WorkerProcess(installation, tmp_path / "worker.log").start()
    try:
        await running.ready(within_s=120)
        yield installation, running
    finally:
        running.kill()


async def pixels(objects: ObjectStore, end: JobSucceeded, index: int = 0) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(await objects.get(end.outputs[index].key))).convert("RGB")).astype(int)


async def test_one_seed_is_one_picture_and_a_failure_is_its_jobs_alone(
    drawing: tuple[Installation, WorkerProcess], objects: ObjectStore
) -> None:
    installation, running = drawing
    prompt = "a large blue square on a yellow background"
    alone = job(prompt=prompt, seed=11, **SHAPE)
    await installation.assign(alone)
    await installation.ends(1, within_s=90)
    three = job(prompt=prompt, seed=10, images=3, **SHAPE)
    other = job("globex", prompt="a small red circle on a white background", seed=5, **SHAPE)
    # A side that is no multiple of 8: admission would refuse it, and this pipeline raises.
    bad = job(prompt=prompt, **{**SHAPE, "width": 97})
    await installation.assign(three, other, bad, partition=0)
    ended = await installation.ends(4, within_s=90)
    ends = {end.request_id: end for end in succeeded([end for end in ended if end.request_id != bad.request_id])}

    solo, in_company = await pixels(objects, ends[alone.request_id]), await pixels(objects, ends[three.request_id], 1)
    assert np.abs(solo - in_company).max() <= 1
    assert np.abs(solo - await pixels(objects, ends[three.request_id], 0)).max() > 1
    assert {end.weights_revision for end in ends.values()} == {weights_revision(MODEL)}
    assert ends[three.request_id].outputs[1].seed == 11

    (failed,) = [end for end in ended if isinstance(end, JobFailed)]
    assert failed.request_id == bad.request_id
    assert failed.error.code is Code.GENERATION_FAILED
    assert not failed.retryable
    assert running.metric("easel_engine_restarts_total") == 0
