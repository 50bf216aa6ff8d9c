"""A worker whose model runs continuously: who comes joins those that run, and nothing else is different for anyone."""

from __future__ import annotations

import asyncio
import io
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from consumer.engine.null_faults import DEADLY_PROMPT
from schemas.envelope import Envelope
from schemas.errors import Code
from schemas.events import Event, GenerationStep
from schemas.jobs import JobAssigned, JobCanceled, JobFailed, JobReleased, JobStarted, JobSucceeded
from schemas.settings import Settings
from tests.consumer.generation.harness import Installation, WorkerProcess, job, succeeded, write_null_models
from transport.objects import ObjectStore

Start = Callable[..., WorkerProcess]

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
async def installation(settings: Settings, tmp_path: Path) -> Installation:
    """As the others have it, with a model that runs continuously."""
    path = write_null_models(tmp_path, budget=3)
    path.write_text(path.read_text() + "    continuous: true\n")
    return await Installation.make(settings, path)


async def about(installation: Installation, assigned: JobAssigned) -> list[Event]:
    return [event for event in await installation.outcomes() if event.request_id == assigned.request_id]


async def pixels(objects: ObjectStore, end: JobSucceeded) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(await objects.get(end.outputs[0].key))).convert("RGB"))


async def test_a_short_job_joins_a_long_one_and_is_done_first(
    installation: Installation, worker: Start, objects: ObjectStore
) -> None:
    running = await worker(EASEL_NULL_STEP_S="0.2").ready()
    long = job(steps=60, seed=3)
    await installation.assign(long)
    await installation.until(JobStarted)
    # More than there is room for at once: the others join when these have left.
    short = [job(steps=4, seed=seed, guidance=float(seed % 2)) for seed in range(5)]
    await installation.assign(*short)
    ends = succeeded(await installation.ends(6, within_s=60))
    assert ends[-1].request_id == long.request_id
    assert running.metric("easel_generation_joined_total") == 5
    assert running.metric("easel_generation_batches_total") == 1
    by_id = {end.request_id: end for end in ends}
    assert by_id[short[4].request_id].engine_ms < by_id[long.request_id].engine_ms
    # Each as a worker makes it alone, and its steps told as they were its own.
    alone = job(steps=4, seed=2, alone=True)
    await installation.assign(alone)
    again = {end.request_id: end for end in succeeded(await installation.ends(7))}[alone.request_id]
    assert np.array_equal(await pixels(objects, again), await pixels(objects, by_id[short[2].request_id]))
    steps: dict[str, list[int]] = {}
    for record in await installation.records(installation.topics.progress):
        envelope = Envelope.read(record.headers, record.value)
        if envelope.type == GenerationStep.TYPE:
            event = GenerationStep.model_validate_json(envelope.data)
            steps.setdefault(event.request_id, []).append(event.step)
    assert steps[long.request_id] == sorted(set(steps[long.request_id]))
    assert max(steps[short[0].request_id]) <= 4


async def test_one_that_joined_is_called_off_and_the_others_never_notice(
    installation: Installation, worker: Start
) -> None:
    await worker(EASEL_NULL_STEP_S="0.1").ready()
    long, joined = job(steps=60), job(steps=50, images=2)
    await installation.assign(long)
    await installation.until(JobStarted)
    await installation.assign(joined)
    await installation.until(JobStarted, 2)
    await asyncio.sleep(1)
    await installation.note(joined, 2, canceled=True)
    (told,) = await installation.until(JobCanceled)
    assert isinstance(told, JobCanceled)
    assert told.request_id == joined.request_id
    assert 2 <= told.steps_run < 2 * 50
    assert await about(installation, long) != []
    (end,) = succeeded(await installation.ends(1))
    assert end.request_id == long.request_id


async def test_a_job_that_kills_the_engine_is_found_and_those_beside_it_are_made(
    installation: Installation, worker: Start
) -> None:
    running = await worker(EASEL_NULL_STEP_S="0.1").ready()
    good = [job(steps=30), job(steps=4)]
    deadly = job(steps=4, prompt=DEADLY_PROMPT)
    await installation.assign(good[0])
    await installation.until(JobStarted)
    await installation.assign(deadly, good[1])
    ends = {end.request_id: end for end in await installation.ends(3, within_s=90)}
    failed = ends[deadly.request_id]
    assert isinstance(failed, JobFailed)
    assert failed.error.code is Code.POISON
    assert all(isinstance(ends[one.request_id], JobSucceeded) for one in good)
    assert running.metric("easel_engine_restarts_total") >= 3


async def test_another_size_has_its_turn_though_more_would_join(installation: Installation, worker: Start) -> None:
    await worker(EASEL_NULL_STEP_S="0.05").ready()
    small = [job(steps=20) for _ in range(2)]
    await installation.assign(*small)
    await installation.until(JobStarted, 1)
    large = job(steps=2, width=128)
    later = [job(steps=20) for _ in range(6)]
    await installation.assign(large, *later, partition=0)
    await installation.ends(9, within_s=60)
    started = [event.request_id for event in await installation.outcomes() if isinstance(event, JobStarted)]
    ended = [event.request_id for event in await installation.outcomes() if isinstance(event, JobSucceeded)]
    assert large.request_id in started
    # It does not come last: of those that were behind it, most still had to begin.
    assert sum(ended.index(one.request_id) > ended.index(large.request_id) for one in later) >= 5


async def test_a_drain_lets_what_runs_end_and_gives_the_rest_back(installation: Installation, worker: Start) -> None:
    running = await worker(EASEL_NULL_STEP_S="0.05").ready()
    jobs = [job(steps=40) for _ in range(6)]
    await installation.assign(*jobs)
    await installation.until(JobStarted, 3)
    running.signal(signal.SIGTERM)
    assert await running.ended() == 0
    outcomes = await installation.outcomes()
    ended = {event.request_id for event in outcomes if isinstance(event, JobSucceeded)}
    released = {event.request_id for event in outcomes if isinstance(event, JobReleased)}
    started = {event.request_id for event in outcomes if isinstance(event, JobStarted)}
    assert len(ended) == 3
    assert started - ended == released
