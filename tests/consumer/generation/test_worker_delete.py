"""Deletes on the jobs topic: what the store holds of a request goes, whatever is in the way; no GPU waits for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from consumer.faults import EXIT_CODE
from ops.local.stack import Stack
from schemas.events import Event
from schemas.ids import new_id
from schemas.jobs import DeleteAssigned, JobAssigned, JobDeleted, JobStarted
from schemas.outputs import request_prefix
from schemas.settings import Settings
from tests.consumer.generation.harness import Installation, WorkerProcess, job, succeeded, write_null_models
from tests.stack import store_settings
from transport.objects import ObjectStore

Start = Callable[..., WorkerProcess]


def delete(assigned: JobAssigned, attempt: int = 1) -> DeleteAssigned:
    return DeleteAssigned(tenant=assigned.tenant, request_id=assigned.request_id, delete_id=new_id(), attempt=attempt)


async def keys(objects: ObjectStore, assigned: JobAssigned) -> list[str]:
    return [found.key async for found in objects.list(request_prefix(assigned.tenant, assigned.request_id))]


async def deleted(installation: Installation, count: int = 1) -> list[JobDeleted]:
    return [event for event in await installation.until(JobDeleted, count) if isinstance(event, JobDeleted)]


async def test_everything_of_a_request_goes_and_nothing_of_another(
    installation: Installation, worker: Start, objects: ObjectStore
) -> None:
    await worker().ready()
    gone, kept = job(images=3), job(images=2)
    await installation.assign(gone, kept)
    succeeded(await installation.ends(2))
    # What an earlier attempt has left lies there too.
    await objects.put(request_prefix(gone.tenant, gone.request_id) + "0-0123456789abcdef.png", b"x", content_type="x/y")
    asked = delete(gone)
    await installation.assign(asked)
    (told,) = await deleted(installation)
    assert (told.request_id, told.delete_id, told.attempt) == (gone.request_id, asked.delete_id, 1)
    assert told.objects == 5
    assert await keys(objects, gone) == []
    assert len(await keys(objects, kept)) == 3
    # Again finds nothing, and says so.
    await installation.assign(delete(gone, attempt=2))
    assert [(event.attempt, event.objects) for event in await deleted(installation, 2)] == [(1, 5), (2, 0)]


async def test_a_delete_does_not_wait_for_the_engine(
    installation: Installation, worker: Start, objects: ObjectStore
) -> None:
    await worker(EASEL_NULL_STEP_S="0.3").ready()
    gone, slow = job(steps=1), job(steps=40)
    await installation.assign(gone)
    await installation.ends(1)
    await installation.assign(slow)
    await installation.until(JobStarted, 2)
    began = time.monotonic()
    await installation.assign(delete(gone))
    await deleted(installation)
    assert time.monotonic() - began < 10
    assert len(await installation.ends(1)) == 1, "the other job has ended already"
    assert await keys(objects, gone) == []


@pytest.mark.parametrize(
    "point",
    [
        "generation.before_delete",
        "generation.after_manifest_deleted",
        "generation.before_deleted",
        "generation.after_deleted",
    ],
)
async def test_a_death_while_it_deletes(
    installation: Installation, worker: Start, objects: ObjectStore, point: str
) -> None:
    dying = worker(EASEL_FAULT=point)
    assigned = job(images=2)
    await installation.assign(assigned)
    await installation.ends(1)
    await installation.assign(delete(assigned))
    assert await dying.ended() == EXIT_CODE
    if point == "generation.after_manifest_deleted":
        # Never a manifest that names pictures which are gone.
        assert [key.rsplit("/", 1)[1][0] for key in await keys(objects, assigned)] == ["0", "1"]
    successor = await worker().ready()
    await deleted(installation)
    await successor.until(lambda: successor.metric("easel_generation_jobs_total") >= 1, 20, "it is not done")
    assert await keys(objects, assigned) == []
    events: list[Event] = [event for event in await installation.outcomes() if isinstance(event, JobDeleted)]
    assert len(events) == (2 if point == "generation.after_deleted" else 1)


async def test_a_store_that_is_away_delays_deletes_and_nothing_else(
    settings: Settings, tmp_path: Path, own_store: Stack
) -> None:
    own = store_settings(own_store)
    installation = await Installation.make(settings.model_copy(update={"store": own}), write_null_models(tmp_path))
    running = WorkerProcess(installation, tmp_path / "worker.log", {"EASEL_NULL_STEP_S": "0.2"}).start()
    try:
        await running.ready()
        gone = job(images=2)
        await installation.assign(gone)
        await installation.ends(1)
        await asyncio.to_thread(own_store.stop, "store", hard=True)
        await installation.assign(delete(gone), partition=0)
        await running.until(lambda: "a delete will be tried again" in running.log.read_text(), 30, "it does not try")
        # The engine goes on meanwhile.
        await installation.assign(job(steps=2), partition=0)
        await installation.until(JobStarted, 2)
        await asyncio.to_thread(own_store.start, "store")
        (told,) = await deleted(installation)
        assert told.objects == 3
        assert len(await installation.ends(2)) == 2
    finally:
        running.kill()


@pytest.fixture
def own_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("store"))
    stack.up("store")
    yield stack
    stack.down()
