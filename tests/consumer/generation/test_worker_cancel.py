"""Called off at every stage of a job's way: what was canceled is told with its steps, and its mates never notice."""

from __future__ import annotations

import asyncio
import io
import signal
import time
from collections.abc import Callable

import numpy as np
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from PIL import Image

from consumer.engine.null_faults import DEADLY_PROMPT
from consumer.faults import EXIT_CODE
from schemas.errors import Code
from schemas.events import Event
from schemas.ids import new_id
from schemas.jobs import JobAssigned, JobCanceled, JobFailed, JobReleased, JobStarted, JobSucceeded
from tests.consumer.generation.harness import Installation, WorkerProcess, job, succeeded
from transport.objects import ObjectStore
from transport.topics import ensure_topics

Start = Callable[..., WorkerProcess]


async def canceled(installation: Installation, assigned: JobAssigned) -> JobCanceled:
    """The one report of its cancellation."""
    await installation.until(JobCanceled)
    (told,) = [event for event in await about(installation, assigned) if isinstance(event, JobCanceled)]
    return told


async def about(installation: Installation, assigned: JobAssigned) -> list[Event]:
    return [event for event in await installation.outcomes() if event.request_id == assigned.request_id]


async def pixels(objects: ObjectStore, end: JobSucceeded, index: int) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(await objects.get(end.outputs[index].key))).convert("RGB"))


async def test_a_running_job_stops_at_its_next_step_and_its_mates_go_on(
    installation: Installation, worker: Start, objects: ObjectStore
) -> None:
    # Something runs first, so that the three that follow are there together.
    running = await worker(EASEL_NULL_STEP_S="0.25").ready()
    first = job(steps=4)
    mates = [job(steps=20, seed=seed, images=2) for seed in (1, 5, 9)]
    await installation.assign(first)
    await installation.until(JobStarted)
    await installation.assign(*mates, partition=0)
    await installation.until(JobStarted, 4)
    await installation.stepped(mates[1])
    await installation.note(mates[1], 2, canceled=True)
    told = await canceled(installation, mates[1])
    # It is told long before the batch has ended.
    assert [event for event in await about(installation, mates[0]) if isinstance(event, JobSucceeded)] == []
    assert told.attempt == 1
    assert told.steps_run % 2 == 0
    assert 2 <= told.steps_run < 2 * 20
    ends = {end.request_id: end for end in succeeded(await installation.ends(3))}
    assert set(ends) == {first.request_id, mates[0].request_id, mates[2].request_id}
    assert running.metric("easel_engine_restarts_total") == 0
    # The same pictures as without it.
    again = [mate.model_copy(update={"request_id": new_id(), "alone": True}) for mate in (mates[0], mates[2])]
    await installation.assign(*again)
    alone = {end.request_id: end for end in succeeded(await installation.ends(5))}
    for mate, same in zip((mates[0], mates[2]), again, strict=True):
        for index in range(2):
            in_company = await pixels(objects, ends[mate.request_id], index)
            assert np.array_equal(in_company, await pixels(objects, alone[same.request_id], index))
    started, ended = await about(installation, mates[1])
    assert isinstance(started, JobStarted)
    assert ended == told


async def test_what_waits_and_what_is_between_its_batches(installation: Installation, worker: Start) -> None:
    running = await worker(EASEL_NULL_STEP_S="0.3").ready()
    # Ten pictures, of which eight run at once; another kind goes before the last two.
    halved, waiting = job(images=10, steps=4), job(steps=9)
    await installation.assign(halved, waiting, partition=0)
    await installation.until(JobStarted)
    await installation.note(waiting, 2, canceled=True)
    told = await canceled(installation, waiting)
    assert told.steps_run == 0
    await running.until(lambda: running.metric("easel_images_total") >= 8, 20, "the first eight are not stored")
    await installation.note(halved, 2, canceled=True)
    await installation.until(JobCanceled, 2)
    (half,) = [event for event in await about(installation, halved) if isinstance(event, JobCanceled)]
    # The eight that were made count whole, and the last two as far as they came.
    assert 8 * 4 <= half.steps_run < 10 * 4
    assert not [event for event in await installation.outcomes() if isinstance(event, JobSucceeded | JobFailed)]


async def test_one_that_was_called_off_before_it_came_never_starts(installation: Installation, worker: Start) -> None:
    early, dropped, following = job(), job(), job()
    await installation.note(early, 2, canceled=True)
    # Notes add up, in whatever order they come.
    await installation.note(early, 1)
    await installation.note(dropped, 2)
    await installation.assign(early, dropped, following, partition=0)
    await worker().ready()
    succeeded(await installation.ends(1))
    assert (await canceled(installation, early)).steps_run == 0
    assert len(await about(installation, early)) == 1
    assert await about(installation, dropped) == []


async def test_one_whose_pictures_are_made_succeeds(installation: Installation, worker: Start) -> None:
    await worker(EASEL_NULL_STEP_S="3").ready()
    assigned = job(steps=1)
    await installation.assign(assigned)
    await installation.until(JobStarted)
    # Within its only step: after it, the picture is there.
    await asyncio.sleep(1)
    await installation.note(assigned, 2, canceled=True)
    ends = await about(installation, assigned)
    while not any(isinstance(event, JobSucceeded | JobCanceled) for event in ends):
        await asyncio.sleep(0.1)
        ends = await about(installation, assigned)
    assert [type(event) for event in ends] == [JobStarted, JobSucceeded]


async def test_while_its_start_is_being_told(installation: Installation, worker: Start) -> None:
    running = await worker().ready()
    kafka = installation.settings.kafka
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    await admin.delete_topics([installation.topics.outcomes])
    await admin.close()
    # Its start can't be told for now, and it is not given to the engine before that.
    assigned = job()
    await installation.assign(assigned)
    await asyncio.sleep(2)
    await installation.note(assigned, 2, canceled=True)
    await asyncio.sleep(1)
    await ensure_topics(kafka, installation.specs())
    assert (await canceled(installation, assigned)).steps_run == 0
    assert running.metric("easel_generation_batches_total") == 0
    following = job()
    await installation.assign(following)
    (end,) = succeeded(await installation.ends(1))
    assert end.request_id == following.request_id


async def test_while_the_engine_is_started_again(installation: Installation, worker: Start) -> None:
    running = await worker(EASEL_NULL_STEP_S="0.3").ready()
    assigned = job(steps=50)
    await installation.assign(assigned)
    await installation.stepped(assigned)
    running.child().kill()
    await running.until(lambda: '"the engine was lost"' in running.log.read_text(), 20, "the loss is not noticed")
    await installation.note(assigned, 2, canceled=True)
    told = await canceled(installation, assigned)
    # What was lost with the engine is not the tenant's.
    assert told.steps_run < 10
    following = job(steps=1)
    await installation.assign(following)
    (end,) = succeeded(await installation.ends(1))
    assert end.request_id == following.request_id


@pytest.mark.parametrize("point", ["generation.before_canceled", "generation.after_canceled"])
async def test_a_death_while_it_is_told(installation: Installation, worker: Start, point: str) -> None:
    dying = worker(EASEL_NULL_STEP_S="0.3", EASEL_FAULT=point)
    assigned = job(steps=50)
    await installation.assign(assigned)
    await installation.until(JobStarted)
    await installation.note(assigned, 2, canceled=True)
    assert await dying.ended() == EXIT_CODE
    successor = await worker().ready()
    await installation.until(JobCanceled, 1 if point.endswith("before_canceled") else 2)
    await successor.until(lambda: successor.metric("easel_generation_jobs_total") == 1, 20, "it is not done")
    assert all(isinstance(event, JobStarted | JobCanceled) for event in await about(installation, assigned))


async def test_alone_is_alone(installation: Installation, worker: Start) -> None:
    running = await worker(EASEL_NULL_STEP_S="0.5").ready()
    first, asked, noted, others = job(steps=3), job(seed=2, alone=True), job(seed=3), [job(seed=4), job(seed=5)]
    await installation.assign(first)
    await installation.until(JobStarted)
    await installation.note(noted, 1, alone=True)
    await installation.assign(asked, noted, *others, partition=0)
    await installation.ends(5)
    starts = {event.request_id: event for event in await installation.outcomes() if isinstance(event, JobStarted)}
    assert starts[asked.request_id].alone
    assert starts[noted.request_id].alone
    assert [starts[other.request_id].alone for other in others] == [False, False]
    # By itself though nobody asked for it: that is said as well.
    assert starts[first.request_id].alone
    assert running.metric("easel_generation_batches_total") == 4


async def test_a_note_makes_what_waits_here_run_alone(installation: Installation, worker: Start) -> None:
    await worker(EASEL_NULL_STEP_S="0.5").ready()
    first, marked, other = job(steps=8), job(seed=2), job(seed=3)
    await installation.assign(first)
    await installation.until(JobStarted)
    await installation.assign(marked, other, partition=0)
    await asyncio.sleep(1)
    await installation.note(marked, 1, alone=True)
    await installation.ends(3)
    starts = {event.request_id: event for event in await installation.outcomes() if isinstance(event, JobStarted)}
    assert starts[marked.request_id].alone


async def test_a_killer_ends_as_poison_and_its_mates_live(installation: Installation, worker: Start) -> None:
    running = await worker(EASEL_NULL_STEP_S="0.3").ready()
    first, killer = job(steps=3), job(prompt=f"{DEADLY_PROMPT}, please", seed=8)
    mates = [job(seed=2), job(seed=3)]
    await installation.assign(first)
    await installation.until(JobStarted)
    await installation.assign(mates[0], killer, mates[1], partition=0)
    ends = {end.request_id: end for end in await installation.ends(4)}
    end = ends.pop(killer.request_id)
    assert isinstance(end, JobFailed)
    assert end.error.code is Code.POISON
    assert not end.retryable
    assert "SIGKILL" in end.error.message
    assert {one.request_id for one in succeeded(list(ends.values()))} == {one.request_id for one in [first, *mates]}
    starts = [event for event in await about(installation, killer) if isinstance(event, JobStarted)]
    # Once in company, which blames nobody; then as often as its model may be tried.
    assert [start.alone for start in starts] == [False, True, True, True]
    assert running.metric("easel_engine_restarts_total") == 4
    assert not [event for event in await installation.outcomes() if isinstance(event, JobReleased)]


async def test_what_runs_is_told_to_the_fleet(installation: Installation, worker: Start) -> None:
    running = await worker(EASEL_NULL_STEP_S="0.2").ready()
    ended, runs, waits = job(steps=4), job(steps=30, images=2), job(steps=31)
    await installation.assign(ended)
    await installation.ends(1)
    await installation.assign(runs, waits, partition=0)
    await installation.until(JobStarted, 2)
    await asyncio.sleep(3)
    (beat,) = (await installation.heartbeats()).values()
    assert (beat.pool, beat.draining, beat.ready) == ("default", False, True)
    assert {(request_id, state) for _, request_id, _, state in beat.held} == {
        (ended.request_id, "ended"),
        (runs.request_id, "running"),
        (waits.request_id, "waiting"),
    }
    assert beat.models == {"nothing": "null-1"}
    # Work is told in the jobs' own measure: two of 30 steps that take 6 s.
    assert beat.backlog_milliunits == runs.work_milliunits + waits.work_milliunits
    assert 0.5 < beat.rate_milliunits_s / (runs.work_milliunits / 6) < 1.3
    assert beat.capacity_milliunits > 0
    began = time.monotonic()
    running.signal(signal.SIGTERM)
    while not next(iter((await installation.heartbeats()).values())).draining:
        assert time.monotonic() - began < 15
        await asyncio.sleep(0.05)
    await running.ended()
    assert await installation.heartbeats() == {}
