"""A worker in its group: long jobs, rebalances, drains, and offsets that are not what they should be."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from consumer.process import EXIT_CONFIGURATION
from schemas.jobs import JobReleased, JobStarted
from tests.consumer.generation.harness import Installation, WorkerProcess, job, succeeded

Start = Callable[..., WorkerProcess]


def assignments(running: WorkerProcess) -> list[list[int]]:
    return [line["partitions"] for line in running.lines() if line["event"] == "assigned"]


async def committed(installation: Installation) -> dict[int, int | None]:
    """What the workers' group has committed, by partition."""
    kafka = installation.settings.kafka
    topic = installation.topics.jobs("default")
    client = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await client.start()
    try:
        found = await client.list_consumer_group_offsets(installation.topics.group("generation.default"))
    finally:
        await client.close()
    return {tp.partition: offset.offset for tp, offset in found.items() if tp.topic == topic and offset.offset >= 0}


async def test_a_job_longer_than_the_poll_interval_keeps_its_member(installation: Installation, worker: Start) -> None:
    running = await worker(EASEL_NULL_STEP_S="1", EASEL_GENERATION_MAX_POLL_INTERVAL_S="2").ready()
    await installation.assign(job(steps=6))
    (end,) = succeeded(await installation.ends(1))
    assert end.engine_ms > 5_500
    assert len(assignments(running)) == 1
    assert len(await installation.until(JobStarted)) == 1


async def test_a_rebalance_waits_for_nobody_and_starts_nothing_twice(installation: Installation, worker: Start) -> None:
    first = await worker(EASEL_NULL_STEP_S="1").ready()
    long = [job(steps=30, seed=partition) for partition in range(4)]
    await installation.assign(*long)
    await installation.until(JobStarted)
    second = await worker(EASEL_NULL_STEP_S="0").ready()
    # Both have their share while the first one's batches still run.
    await second.until(lambda: [len(p) for p in assignments(second)][-1:] == [2], 30, "no share")
    assert first.metric("easel_generation_jobs_total") == 0
    ends = await installation.ends(4)
    assert {end.request_id for end in ends} == {assigned.request_id for assigned in long}
    starts: Counter[tuple[str, str]] = Counter()
    for event in await installation.outcomes():
        if isinstance(event, JobStarted):
            starts[event.worker, event.request_id] += 1
    assert set(starts.values()) == {1}, "a worker began a job again that it was running"
    assert first.metric("easel_generation_partitions_owned") == 2
    # Long after its start it still hears the broker.
    assert first.get("/health/ready") == (200, '{"ready": true, "reasons": []}')


async def test_sigterm_ends_the_batch_commits_and_leaves(installation: Installation, worker: Start) -> None:
    running = await worker(EASEL_NULL_STEP_S="0.5", EASEL_GENERATION_SESSION_TIMEOUT_S="90").ready()
    begun = job(steps=6)
    await installation.assign(begun, partition=0)
    await installation.until(JobStarted)
    waiting = job(steps=7)
    await installation.assign(waiting, partition=1)
    await asyncio.sleep(0.5)
    running.signal(signal.SIGTERM)
    assert await running.ended() == 0
    (end,) = succeeded(await installation.ends(1))
    assert end.request_id == begun.request_id
    assert (await committed(installation))[0] == 1
    assert 1 not in await committed(installation)
    # It has left: its successor need not wait for its session to end.
    began = time.monotonic()
    await worker().ready()
    ends = await installation.ends(2)
    assert {one.request_id for one in ends} == {begun.request_id, waiting.request_id}
    assert time.monotonic() - began < 75
    assert not [event for event in await installation.outcomes() if isinstance(event, JobReleased)]


async def test_what_does_not_end_within_the_drain_is_released(installation: Installation, worker: Start) -> None:
    running = await worker(EASEL_NULL_STEP_S="1", EASEL_GENERATION_DRAIN_S="1").ready()
    long = job(steps=60)
    await installation.assign(long)
    await installation.until(JobStarted)
    running.signal(signal.SIGTERM)
    assert await running.ended() == 0
    (released,) = [event for event in await installation.outcomes() if isinstance(event, JobReleased)]
    assert released.request_id == long.request_id
    assert await committed(installation) == {}


async def test_offsets_are_committed_over_the_gaps_of_transactions(installation: Installation, worker: Start) -> None:
    running = await worker().ready()
    for seed in range(5):
        await installation.assign(job(seed=seed), partition=2)
    await installation.ends(5)
    await running.until(lambda: running.metric("easel_generation_jobs_total") == 5, 20, "not ended")
    # Five records, each behind the marker of the transaction before it.
    async with asyncio.timeout(20):
        while await committed(installation) != {2: 9}:  # noqa: ASYNC110 - the broker tells nobody
            await asyncio.sleep(0.1)


async def test_jobs_that_were_there_first_are_read(installation: Installation, worker: Start) -> None:
    await installation.assign(*(job(seed=seed) for seed in range(8)))
    await worker().ready()
    assert len(await installation.ends(8)) == 8


async def test_offsets_below_the_range_begin_at_the_earliest(installation: Installation, worker: Start) -> None:
    first = await worker().ready()
    await installation.assign(job(), partition=0)
    await installation.ends(1)
    first.signal(signal.SIGTERM)
    await first.ended()
    for seed in range(4):
        await installation.assign(job(seed=seed), partition=0)
    kafka = installation.settings.kafka
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    await admin.delete_records({KafkaPartition(installation.topics.jobs("default"), 0): RecordsToDelete(5)})
    await admin.close()
    second = await worker().ready()
    assert len(await installation.ends(3)) == 3
    assert second.metric("easel_offsets_below_range_total") == 1


async def test_offsets_above_the_range_are_refused_with_the_remedy(installation: Installation, worker: Start) -> None:
    await installation.assign(job(), partition=0)
    kafka = installation.settings.kafka
    beyond = KafkaPartition(installation.topics.jobs("default"), 0)
    group = installation.topics.group("generation.default")
    client = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, group_id=group, enable_auto_commit=False)
    await client.start()
    client.assign([beyond])
    await client.commit({beyond: 1_000})
    await client.stop()
    running = worker()
    assert await running.ended(within_s=60) == EXIT_CONFIGURATION
    assert "--delete-offsets" in running.log.read_text()
    assert await installation.outcomes() == []


async def test_without_its_topics_a_worker_says_what_to_do(worker: Start) -> None:
    running = worker(EASEL_KAFKA_PREFIX="nobody-made-these")
    assert await running.ended() == EXIT_CONFIGURATION
    assert "easel topics" in running.log.read_text()
