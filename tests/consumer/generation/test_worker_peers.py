"""Jobs that come to a second worker while the first is at them: left to it while it lives, begun when it is gone."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Callable

from consumer.faults import EXIT_CODE
from schemas.jobs import JobAssigned, JobCanceled, JobStarted
from tests.consumer.generation.harness import Installation, WorkerProcess, job, succeeded
from tests.consumer.generation.test_worker_group import assignments, committed

Start = Callable[..., WorkerProcess]


SESSION_S = 10.0
"""The default: a peer counts as living for 8 s after its last word."""
WORKER = {"EASEL_GENERATION_SESSION_TIMEOUT_S": f"{SESSION_S:g}"}


async def begun(installation: Installation, worker: Start, *, steps: int) -> tuple[WorkerProcess, list[JobAssigned]]:
    """A worker that runs a job of each partition."""
    first = await worker(EASEL_NULL_STEP_S="0.5", **WORKER).ready()
    jobs = [job(steps=steps, seed=seed) for seed in range(4)]
    await installation.assign(*jobs)
    await installation.until(JobStarted)
    return first, jobs


async def joined(worker: Start, **more: str) -> WorkerProcess:
    """A second worker, with its share of the partitions."""
    second = await worker(**{"EASEL_NULL_STEP_S": "0", **WORKER, **more}).ready()
    await second.until(lambda: [len(given) for given in assignments(second)][-1:] == [2], 30, "no share")
    return second


async def starts(installation: Installation) -> list[JobStarted]:
    return [event for event in await installation.outcomes() if isinstance(event, JobStarted)]


async def test_what_a_living_worker_runs_is_left_to_it(installation: Installation, worker: Start) -> None:
    first, jobs = await begun(installation, worker, steps=50)
    second = await joined(worker)
    assert not await installation.ends(0), "it has ended before it could be left to anyone"
    ends = succeeded(await installation.ends(4))
    assert {end.request_id for end in ends} == {assigned.request_id for assigned in jobs}
    assert len({end.worker for end in ends}) == 1
    assert Counter(start.request_id for start in await starts(installation)) == {
        assigned.request_id: 1 for assigned in jobs
    }
    # What the first one has ended, the second one has done with: nothing is delivered once more.
    await second.until(lambda: second.metric("easel_generation_jobs_total") >= 2, 20, "not done")
    async with asyncio.timeout(20):
        while len(await committed(installation)) != 4:  # noqa: ASYNC110 - the broker tells nobody
            await asyncio.sleep(0.1)
    assert first.metric("easel_generation_jobs_total") == 4


async def test_when_it_dies_they_are_begun_elsewhere_alone(installation: Installation, worker: Start) -> None:
    first, jobs = await begun(installation, worker, steps=200)
    second = await joined(worker)
    # It has two of them, and waits.
    await asyncio.sleep(2)
    assert len(await starts(installation)) == 4
    first.signal(signal.SIGKILL)
    killed = time.monotonic()
    succeeded(await installation.ends(4))
    assert time.monotonic() - killed < SESSION_S + 10
    again = (await starts(installation))[4:]
    assert {start.request_id for start in again} == {assigned.request_id for assigned in jobs}
    assert all(start.alone for start in again), "their starts never ended"
    assert second.metric("easel_generation_batches_total") == 4


async def test_a_cancel_of_what_was_left_is_told_by_who_runs_it(installation: Installation, worker: Start) -> None:
    _, jobs = await begun(installation, worker, steps=100)
    second = await joined(worker)
    await asyncio.sleep(2)
    for assigned in jobs:
        await installation.note(assigned, 2, canceled=True)
    await installation.until(JobCanceled, 4)
    await second.until(lambda: second.metric("easel_generation_jobs_total") == 2, 20, "not done")
    told = [event for event in await installation.outcomes() if isinstance(event, JobCanceled)]
    assert len(told) == 4
    assert all(event.steps_run > 0 for event in told)


async def test_a_death_after_a_peer_has_ended_it(installation: Installation, worker: Start) -> None:
    await begun(installation, worker, steps=50)
    second = await joined(worker, EASEL_FAULT="generation.after_peer_ended")
    assert await second.ended(within_s=60) == EXIT_CODE
    ends = succeeded(await installation.ends(4))
    assert len(ends) == 4
    assert len(await starts(installation)) == 4
