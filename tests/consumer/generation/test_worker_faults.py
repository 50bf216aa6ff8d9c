"""What is left when a worker, its engine, the store or the broker dies at the worst moment: each job ends once."""

from __future__ import annotations

import asyncio
import hashlib
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from consumer.engine.null_faults import CROWDED_PROMPT, DEADLY_PROMPT, LEAKING_PROMPT
from consumer.faults import EXIT_CODE, POINTS
from ops.local.stack import Stack
from schemas.errors import Code
from schemas.jobs import JobFailed, JobStarted, JobSucceeded
from schemas.outputs import Manifest, manifest_key
from schemas.settings import Settings
from tests.consumer.generation.harness import Installation, WorkerProcess, job, succeeded, write_null_models
from tests.stack import OwnBroker, store_settings
from transport.objects import ObjectStore

Start = Callable[..., WorkerProcess]


async def usable(objects: ObjectStore, ends: Sequence[JobSucceeded]) -> None:
    """Each success names pictures that are there with their content, and its manifest says the same."""
    for end in ends:
        for output in end.outputs:
            assert hashlib.sha256(await objects.get(output.key)).hexdigest() == output.sha256
        manifest = Manifest.model_validate_json(await objects.get(manifest_key(end.tenant, end.request_id)))
        assert manifest.outputs == end.outputs


async def test_a_killed_engine_comes_back_and_its_jobs_are_done_again(
    installation: Installation, worker: Start, objects: ObjectStore
) -> None:
    running = await worker(EASEL_NULL_STEP_S="0.3").ready()
    jobs = [job(images=2), job(seed=3), job(seed=4)]
    await installation.assign(*jobs)
    await installation.stepped()
    running.child().kill()
    ends = succeeded(await installation.ends(3))
    assert len(ends) == 3
    await usable(objects, ends)
    assert running.metric("easel_engine_restarts_total") == 1
    again = [event for event in await installation.outcomes() if isinstance(event, JobStarted)]
    # What was in the batch that was lost is then tried by itself.
    assert len(again) > 3
    assert any(event.alone for event in again)


async def test_a_job_whose_engine_always_dies_fails_and_leaves_others_alone(
    installation: Installation, worker: Start, tmp_path: Path
) -> None:
    write_null_models(tmp_path, attempts=2)
    running = await worker(EASEL_NULL_STEP_S="1").ready()
    killer = job(steps=50)
    await installation.assign(killer)
    for start in (1, 2):
        await installation.stepped(attempts=start)
        running.child().kill()
    (end,) = await installation.ends(1)
    assert isinstance(end, JobFailed)
    assert end.error.code is Code.POISON
    assert not end.retryable
    assert "SIGKILL" in end.error.message
    assert "Traceback" not in end.error.message
    await installation.assign(job(steps=1))
    assert len(await installation.ends(2)) == 2


async def test_a_job_that_kills_its_engine_thrice_is_poison_and_its_batch_mates_are_not(
    installation: Installation, worker: Start, objects: ObjectStore
) -> None:
    running = await worker(EASEL_NULL_STEP_S="0.5").ready()
    # While the first one runs the others gather, and make one batch.
    first, killer = job(), job(prompt=DEADLY_PROMPT)
    mates = [job(seed=seed) for seed in (8, 9, 10)]
    await installation.assign(first)
    await installation.until(JobStarted, 1)
    await installation.assign(mates[0], killer, *mates[1:])
    ends = {end.request_id: end for end in await installation.ends(5)}
    poison = ends.pop(killer.request_id)
    assert isinstance(poison, JobFailed)
    assert poison.error.code is Code.POISON
    assert not poison.retryable
    assert "killed by SIGKILL" in poison.error.message
    assert "3 times while it made nothing but this" in poison.error.message
    await usable(objects, succeeded(list(ends.values())))
    # Once in company, for which nobody is blamed, and three times alone.
    assert running.metric("easel_engine_restarts_total") == 4
    starts = [event for event in await installation.outcomes() if isinstance(event, JobStarted)]
    assert [event.alone for event in starts if event.request_id == killer.request_id] == [False, True, True, True]
    for mate in mates:
        assert [event.alone for event in starts if event.request_id == mate.request_id] == [False, True]


async def test_an_engine_that_leaks_is_replaced_and_no_job_notices(
    installation: Installation, worker: Start, objects: ObjectStore
) -> None:
    running = await worker(EASEL_GENERATION_ENGINE_MEMORY_MIB="256").ready()
    await installation.assign(job(prompt=LEAKING_PROMPT, steps=1))
    await installation.ends(1)
    await running.until(lambda: running.metric("easel_engine_restarts_total") == 1, 10, "it was not replaced")
    await installation.assign(job(seed=8))
    await usable(objects, succeeded(await installation.ends(2)))
    starts = [event for event in await installation.outcomes() if isinstance(event, JobStarted)]
    assert len(starts) == 2
    assert 'easel_engine_restarts_total{cause="memory"} 1.0' in running.get("/metrics")[1]
    assert "above the limit of 256 MiB" in running.log.read_text()


async def test_an_engine_that_hangs_is_killed(installation: Installation, worker: Start) -> None:
    running = await worker(EASEL_NULL_STEP_S="0.3", EASEL_GENERATION_HANG_S="2").ready()
    await installation.assign(job(steps=8))
    await installation.stepped()
    running.child().suspend()
    succeeded(await installation.ends(1))
    assert 'easel_engine_restarts_total{cause="hang"} 1.0' in running.get("/metrics")[1]


async def test_when_a_worker_is_killed_another_takes_over(
    installation: Installation, worker: Start, objects: ObjectStore
) -> None:
    first = await worker(EASEL_NULL_STEP_S="0.5").ready()
    child = first.child()
    jobs = [job(seed=seed) for seed in range(6)]
    await installation.assign(*jobs)
    await installation.until(JobStarted, 1)
    first.signal(signal.SIGKILL)
    await worker().ready()
    ends = succeeded(await installation.ends(6))
    await usable(objects, ends)
    # The GPU must not be held by an orphan.
    child.wait(5)


# Those that only a cancel, a delete or a rebalance comes by are in test_worker_cancel, -_delete and -_peers.
ELSEWHERE = {
    "generation.before_canceled",
    "generation.after_canceled",
    "generation.before_delete",
    "generation.after_manifest_deleted",
    "generation.before_deleted",
    "generation.after_deleted",
    "generation.after_peer_ended",
}


@pytest.mark.parametrize("point", sorted(point for point in POINTS - ELSEWHERE if point.startswith("generation.")))
async def test_a_death_at_any_point_leaves_one_usable_set_of_outputs(
    installation: Installation, worker: Start, objects: ObjectStore, point: str
) -> None:
    dying = worker(EASEL_FAULT=point)
    assigned = job(images=2)
    await installation.assign(assigned)
    assert await dying.ended() == EXIT_CODE
    await worker().ready()
    ends = await installation.until(JobSucceeded, 1)
    await asyncio.sleep(0.5)
    ends = [event for event in await installation.outcomes() if isinstance(event, JobSucceeded)]
    # Told twice, perhaps, but never in two ways: the manifest that is there is what is told again.
    assert len({event.model_dump_json(exclude={"worker", "attempt"}) for event in ends}) == 1
    await usable(objects, [event for event in ends if isinstance(event, JobSucceeded)])


async def test_a_store_that_is_away_for_a_while_loses_nothing(
    settings: Settings, tmp_path: Path, own_store: Stack
) -> None:
    own = store_settings(own_store)
    async with ObjectStore(own) as objects:
        away = settings.model_copy(update={"store": own})
        installation = await Installation.make(away, write_null_models(tmp_path))
        await asyncio.to_thread(own_store.stop, "store")
        running = WorkerProcess(installation, tmp_path / "worker.log", {"EASEL_NULL_STEP_S": "0.5"}).start()
        try:
            await running.until(lambda: "waits for the store" in running.log.read_text(), 20, "it does not wait")
            assert running.get("/health/ready")[0] == 503
            await asyncio.to_thread(own_store.start, "store")
            # It makes its bucket by itself.
            await running.ready()
            await installation.assign(job())
            await installation.until(JobStarted)
            await asyncio.to_thread(own_store.stop, "store", hard=True)
            await asyncio.sleep(4)
            assert [event for event in await installation.outcomes() if isinstance(event, JobSucceeded)] == []
            await asyncio.to_thread(own_store.start, "store")
            await usable(objects, succeeded(await installation.ends(1)))
        finally:
            running.kill()


async def test_a_broker_that_is_killed_loses_no_finished_job(
    own_broker: OwnBroker, settings: Settings, tmp_path: Path, objects: ObjectStore
) -> None:
    installation = await Installation.make(
        settings.model_copy(update={"kafka": own_broker.settings}), write_null_models(tmp_path)
    )
    running = WorkerProcess(installation, tmp_path / "worker.log", {"EASEL_NULL_STEP_S": "0.5"}).start()
    try:
        await running.ready()
        await installation.assign(job(), job(seed=2))
        await installation.until(JobStarted, 2)
        await own_broker.restart(hard=True)
        await usable(objects, succeeded(await installation.ends(2)))
        await installation.assign(job(seed=3))
        assert len({end.request_id for end in await installation.ends(3)}) == 3
        assert running.process is not None
        assert running.process.poll() is None
    finally:
        running.kill()


@pytest.fixture
def own_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("store"))
    stack.up("store")
    yield stack
    stack.down()


async def test_a_batch_that_does_not_fit_is_halved_and_the_size_remembered(
    installation: Installation, worker: Start
) -> None:
    running = await worker(EASEL_GENERATION_MAX_SPLIT_SIZE_MB="128").ready()
    assert running.child().environ()["PYTORCH_ALLOC_CONF"] == "max_split_size_mb:128"
    prompt = f"{CROWDED_PROMPT} fit in memory together"
    await installation.assign(job(prompt=prompt, images=8))
    (end,) = succeeded(await installation.ends(1))
    assert [output.index for output in end.outputs] == list(range(8))
    # Eight did not fit, nor did four; then four times two.
    assert running.metric("easel_generation_out_of_memory_total") == 2
    assert running.metric("easel_generation_batches_total") == 6
    await installation.assign(job(prompt=prompt, images=4, steps=2))
    succeeded(await installation.ends(2))
    assert running.metric("easel_generation_out_of_memory_total") == 2
    assert running.metric("easel_generation_batches_total") == 8
    assert running.metric("easel_engine_restarts_total") == 0
