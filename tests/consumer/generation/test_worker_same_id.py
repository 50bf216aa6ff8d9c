"""Two tenants whose requests have the same id, by chance or on purpose: neither ever gets what is the other's."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from schemas.ids import new_id
from schemas.jobs import JobAssigned, JobCanceled, JobStarted, JobSucceeded
from schemas.settings import Settings
from tests.consumer.generation.harness import Installation, WorkerProcess, job, succeeded, write_null_models
from transport.objects import ObjectStore

Start = Callable[..., WorkerProcess]

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(params=[False, True], ids=["batches", "rows"])
async def installation(request: pytest.FixtureRequest, settings: Settings, tmp_path: Path) -> Installation:
    """With a model that runs in batches, and with one whose pictures join and leave."""
    path = write_null_models(tmp_path)
    if request.param:
        path.write_text(path.read_text() + "    continuous: true\n")
    return await Installation.make(settings, path)


async def pixels(objects: ObjectStore, end: JobSucceeded) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(await objects.get(end.outputs[0].key))).convert("RGB"))


async def together(installation: Installation, *, steps: int) -> tuple[JobAssigned, JobAssigned]:
    """Two jobs of one id that run at the same time: something runs first, so that they are there together."""
    first, shared = job(steps=4), new_id()
    mine, theirs = (
        job(tenant, request_id=shared, steps=steps, prompt=f"what {tenant} asked for") for tenant in ("acme", "globex")
    )
    await installation.assign(first)
    await installation.until(JobStarted)
    await installation.assign(mine, theirs, partition=0)
    return mine, theirs


async def test_each_gets_its_own_picture(installation: Installation, worker: Start, objects: ObjectStore) -> None:
    await worker(EASEL_NULL_STEP_S="0.2").ready()
    mine, theirs = await together(installation, steps=4)
    ends = {end.tenant: end for end in succeeded(await installation.ends(3)) if end.request_id == mine.request_id}
    alone = [one.model_copy(update={"request_id": new_id(), "alone": True}) for one in (mine, theirs)]
    await installation.assign(*alone)
    again = {end.request_id: end for end in succeeded(await installation.ends(5))}
    for one, same in zip((mine, theirs), alone, strict=True):
        found = await pixels(objects, ends[one.tenant])
        assert np.array_equal(found, await pixels(objects, again[same.request_id]))
    assert not np.array_equal(await pixels(objects, ends["acme"]), await pixels(objects, ends["globex"]))


async def test_a_cancel_of_one_is_not_the_others(installation: Installation, worker: Start) -> None:
    await worker(EASEL_NULL_STEP_S="0.2").ready()
    mine, theirs = await together(installation, steps=25)
    await installation.until(JobStarted, 3)
    await installation.note(theirs, 2, canceled=True)
    await installation.until(JobCanceled)
    ends = [end for end in await installation.ends(2) if end.request_id == mine.request_id]
    assert [(end.tenant, type(end)) for end in ends] == [("acme", JobSucceeded)]
    told = [event for event in await installation.outcomes() if isinstance(event, JobCanceled)]
    assert [event.tenant for event in told] == ["globex"]
