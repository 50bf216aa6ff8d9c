"""Previews as progress: for who asks, small whatever they show, and seldom."""

from __future__ import annotations

import asyncio
import base64
import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from consumer.generation.previews import MAX_BYTES, small
from schemas.envelope import Envelope
from schemas.previews import GenerationPreview
from schemas.settings import Settings
from tests.consumer.generation.harness import Installation, WorkerProcess, job, write_null_models
from transport.objects import ObjectStore

NOISE = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)


@pytest.mark.parametrize("pixels", [NOISE, NOISE[:12, :12], np.zeros((8, 8, 3), dtype=np.uint8)])
@pytest.mark.parametrize(
    ("width", "height", "size"), [(1024, 512, (256, 128)), (96, 64, (96, 64)), (8192, 16, (256, 1))]
)
def test_it_is_small_whatever_it_shows(pixels: np.ndarray, width: int, height: int, size: tuple[int, int]) -> None:
    data = small(np.ascontiguousarray(pixels), width, height)
    assert 0 < len(data) <= MAX_BYTES
    picture = Image.open(io.BytesIO(data))
    assert (picture.format, picture.size) == ("JPEG", size)


async def previews(installation: Installation) -> list[GenerationPreview]:
    envelopes = [
        Envelope.read(record.headers, record.value)
        for record in await installation.records(installation.topics.progress)
    ]
    assert all(len(one.data) < 16_000 for one in envelopes)
    return [GenerationPreview.model_validate_json(one.data) for one in envelopes if one.type == GenerationPreview.TYPE]


async def test_a_worker_tells_of_them_to_who_asked(
    settings: Settings, tmp_path: Path, objects: ObjectStore, worker: Callable[..., WorkerProcess]
) -> None:
    models = write_null_models(tmp_path)
    models.write_text(models.read_text().replace("    engine:", "    previews_every: 2\n    engine:"))
    installation = await Installation.make(settings, models)
    await objects.ensure_bucket()
    wanted, other = job(previews=True, images=2, steps=8), job(steps=8)
    running = worker(EASEL_NULL_STEP_S="0.1")
    await running.ready()
    await installation.assign(wanted, other, partition=0)
    await installation.ends(2)
    deadline = time.monotonic() + 10
    while not (told := await previews(installation)):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    assert {event.request_id for event in told} == {wanted.request_id}
    assert {event.index for event in told} == {0, 1}
    for event in told:
        # Once a second at most: the first, and none of those that follow within 0.6 s.
        assert (event.step, event.steps, event.attempt) == (2, 8, 1)
        assert Image.open(io.BytesIO(base64.b64decode(event.image_base64))).size == (64, 64)
