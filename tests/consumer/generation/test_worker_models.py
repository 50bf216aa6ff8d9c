"""One worker with two models of its pool: which are loaded, in which order jobs run, and what the fleet hears of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import Code
from schemas.jobs import JobFailed
from schemas.settings import Settings
from tests.consumer.generation.harness import Installation, WorkerProcess, job, succeeded

MODEL = Path(__file__).resolve().parents[3] / "models" / "easel-tiny"
ENTRY = """
  {name}:
    pipeline: {folder}
    max_batch_images: 8
    defaults: {{width: 96, height: 96, steps: 2}}
"""
SHAPE: dict[str, Any] = {"width": 96, "height": 96, "steps": 2, "guidance": 0.0}

Start = Callable[..., WorkerProcess]
pytestmark = pytest.mark.timeout(240)


@pytest.fixture
async def two_models(settings: Settings, tmp_path: Path) -> Installation:
    models = tmp_path / "models.yaml"
    models.write_text("models:" + "".join(ENTRY.format(name=name, folder=MODEL) for name in ("day", "night")))
    return await Installation.make(settings, models)


@pytest.fixture
async def worker(two_models: Installation, tmp_path: Path) -> AsyncIterator[Start]:
    started: list[WorkerProcess] = []

    def start(**environment: str) -> WorkerProcess:
        started.append(WorkerProcess(two_models, tmp_path / f"worker-{len(started)}.log", environment).start())
        return started[-1]

    yield start
    for process in started:
        process.kill()


async def in_turn(installation: Installation, pairs: int) -> None:
    """Jobs of both models in turn, all there before the first is done, and their ends."""
    jobs = [job(model=model, seed=seed, **SHAPE) for seed in range(pairs) for model in ("day", "night")]
    await installation.assign(*jobs, partition=0)
    assert len(succeeded(await installation.ends(len(jobs), within_s=120))) == len(jobs)


async def loaded(installation: Installation) -> set[str]:
    """As the fleet hears it, a second after the last change."""
    await asyncio.sleep(1.5)
    (beat,) = (await installation.heartbeats()).values()
    assert all(len(revision) == 16 for revision in beat.models.values())
    return set(beat.models)


async def test_with_memory_for_one_they_take_turns_by_batches_not_by_jobs(
    two_models: Installation, worker: Start
) -> None:
    running = await worker().ready(within_s=120)
    assert await loaded(two_models) == {"day"}
    await in_turn(two_models, 8)
    # The first at the start; then each model a few times at most, where job by job it would be sixteen.
    assert 2 <= running.metric("easel_engine_model_loads_total") <= 5
    loads = running.metric("easel_engine_model_loads_total")
    assert running.metric("easel_engine_model_evictions_total") == loads - 1
    assert len(await loaded(two_models)) == 1


async def test_with_memory_for_both_both_stay_and_what_fits_nowhere_fails_alone(
    two_models: Installation, worker: Start
) -> None:
    running = await worker(EASEL_GENERATION_MODELS_MIB="200").ready(within_s=120)
    await in_turn(two_models, 4)
    assert running.metric("easel_engine_model_loads_total") == 2
    assert running.metric("easel_engine_model_evictions_total") == 0
    assert await loaded(two_models) == {"day", "night"}

    # Pictures of this size need terabytes: torch itself says that there is no memory for them.
    vast = job(model="day", images=4, **{**SHAPE, "width": 800_000, "height": 800_000})
    usual = job(model="day", seed=5, **SHAPE)
    await two_models.assign(vast, usual, partition=0)
    ends = {end.request_id: end for end in await two_models.ends(10, within_s=120)}
    failed = ends[vast.request_id]
    assert isinstance(failed, JobFailed)
    assert failed.error.code is Code.OUT_OF_MEMORY
    assert not failed.retryable
    succeeded([ends[usual.request_id]])
    assert running.metric("easel_generation_out_of_memory_total") == 4, "each picture was tried by itself"
    assert running.metric("easel_engine_restarts_total") == 0
    assert await loaded(two_models) == {"day", "night"}, "what fits nowhere drives nobody out"
