"""A member delivers what it was told to deliver, in order, and nothing else."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import pytest

from schemas.connection import KafkaSettings
from tests.stack import OwnBroker, make_topic
from tests.transport.members import Member, member, until
from tests.transport.wire import ApiKey, broker_behind_wire
from transport.errors import Doubt, Fenced, OffsetsUnknown, Unavailable
from transport.group import GroupConsumer
from transport.kafka import Publisher
from transport.records import Outgoing, Record, TopicPartition


async def _fill(kafka: KafkaSettings, topic: str, partition: int, numbers: range) -> None:
    async with Publisher(kafka, client_id="fill") as publisher:
        await asyncio.gather(*(publisher.publish(Outgoing(topic, b"%d" % n, partition=partition)) for n in numbers))


def _offsets(records: list[Record]) -> list[int]:
    return [record.offset for record in records]


async def test_nothing_is_asked_fetched_or_delivered_before_the_release(tmp_path: Path) -> None:
    async with broker_behind_wire(tmp_path) as (kafka, wire):
        topic = await make_topic(kafka, partitions=2)
        zero, one = TopicPartition(topic, 0), TopicPartition(topic, 1)
        for tp in (zero, one):
            await _fill(kafka, topic, tp.partition, range(20))
        async with member(kafka, [topic]) as earlier:
            await earlier.commit({zero: 3})
        wire.requests.clear()

        async with member(kafka, [topic]) as consumer:
            assert consumer.assigned == [{zero, one}]
            assert await consumer.poll(1.0) == []
            assert wire.requests[ApiKey.OFFSET_FETCH] == 0
            consumer.release(zero, 0)
            assert _offsets(await consumer.take(20)) == list(range(20))
            assert await consumer.poll(0.3) == []
            consumer.release(one, 17)
            assert _offsets(await consumer.take(3)) == [17, 18, 19]
            assert wire.requests[ApiKey.OFFSET_FETCH] == 0


async def test_partitions_are_paused_when_the_callback_hears_of_them(kafka: KafkaSettings) -> None:
    topic = await make_topic(kafka, partitions=2)
    seen: list[tuple[frozenset[TopicPartition], frozenset[TopicPartition]]] = []
    consumer = GroupConsumer(
        kafka,
        group=f"{kafka.prefix}.g",
        topics=[topic],
        on_assigned=lambda tps: seen.append((tps, frozenset(consumer._consumer.paused()))),
        on_revoked=lambda _: None,
    )
    async with consumer:
        await until(lambda: bool(seen))
    both = frozenset({TopicPartition(topic, 0), TopicPartition(topic, 1)})
    assert seen == [(both, both)]


async def test_a_partition_that_goes_on_waits_little_for_one_where_nothing_comes(kafka: KafkaSettings) -> None:
    """The client asks a broker once at a time: while it waits for the one it can't ask for the other."""
    topic = await make_topic(kafka, partitions=2)
    busy, quiet = TopicPartition(topic, 0), TopicPartition(topic, 1)
    waits = []
    async with member(kafka, [topic]) as consumer, Publisher(kafka, client_id="fill") as publisher:
        for tp in (busy, quiet):
            consumer.release(tp, 0)
        for _ in range(4):
            consumer.pause(busy)
            await publisher.publish(Outgoing(topic, b"quiet", partition=quiet.partition))
            assert [record.value for record in await consumer.take(1)] == [b"quiet"]
            await publisher.publish(Outgoing(topic, b"busy", partition=busy.partition))
            consumer.resume(busy)
            began = time.monotonic()
            assert [record.value for record in await consumer.take(1)] == [b"busy"]
            waits.append(time.monotonic() - began)
    assert min(waits) < 0.35, waits


async def test_what_was_fetched_before_a_release_is_never_delivered_after_it(kafka: KafkaSettings) -> None:
    topic = await make_topic(kafka)
    tp = TopicPartition(topic, 0)
    await _fill(kafka, topic, 0, range(500))
    rng = random.Random(7)
    async with member(kafka, [topic]) as consumer:
        expected = 0
        consumer.release(tp, expected)
        released = time.monotonic()
        delivered = 0

        async def release_at_random() -> None:
            nonlocal expected
            while True:
                await asyncio.sleep(rng.random() * 0.01)
                expected = rng.randrange(500)
                consumer.release(tp, expected)

        releasing = asyncio.create_task(release_at_random())
        while time.monotonic() - released < 4.0 or delivered < 2_000:
            records = await consumer.poll(0.05)
            for record in records:
                assert record.offset == expected
                expected += 1
            delivered += len(records)
        releasing.cancel()


async def test_pauses_lose_and_reorder_nothing(kafka: KafkaSettings) -> None:
    topic = await make_topic(kafka)
    tp = TopicPartition(topic, 0)
    await _fill(kafka, topic, 0, range(300))
    rng = random.Random(3)
    async with member(kafka, [topic]) as consumer:
        consumer.release(tp, 0)
        filling = asyncio.create_task(_fill(kafka, topic, 0, range(300, 600)))
        taken: list[int] = []
        while len(taken) < 600:
            consumer.pause(tp)
            if rng.random() < 0.5:
                assert await consumer.poll(0.005) == []
            consumer.resume(tp)
            taken += _offsets(await consumer.poll(rng.random() * 0.05))
        await filling
        assert taken == list(range(600))


async def test_resume_does_not_release(kafka: KafkaSettings) -> None:
    topic = await make_topic(kafka)
    await _fill(kafka, topic, 0, range(5))
    async with member(kafka, [topic]) as consumer:
        consumer.resume(TopicPartition(topic, 0))
        assert await consumer.poll(0.7) == []


async def test_a_rebalance_pauses_everything_again(kafka: KafkaSettings) -> None:
    topic = await make_topic(kafka, partitions=4)
    tps = [TopicPartition(topic, number) for number in range(4)]
    for tp in tps:
        await _fill(kafka, topic, tp.partition, range(10))
    async with member(kafka, [topic]) as first:
        for tp in tps:
            first.release(tp, 0)
        assert len(await first.take(40)) == 40
        second = Member(kafka, [topic])
        async with second:
            await asyncio.gather(first.joined(2), second.joined(2))
            assert first.revoked == [frozenset(tps)]
            assert first.assignment() | second.assignment() == frozenset(tps)
            lost = next(iter(second.assignment()))
            with pytest.raises(Fenced):
                first.release(lost, 0)
            with pytest.raises(Fenced):
                await first.commit({lost: 10})
            kept = next(iter(first.assignment()))
            first.release(kept, 4)
            assert _offsets(await first.take(6)) == [4, 5, 6, 7, 8, 9]
            assert await second.poll(0.3) == []


async def test_a_position_outside_the_log_is_said_and_never_reset(kafka: KafkaSettings) -> None:
    topic = await make_topic(kafka, partitions=2)
    zero, one = TopicPartition(topic, 0), TopicPartition(topic, 1)
    await _fill(kafka, topic, 1, range(5))
    async with member(kafka, [topic]) as consumer:
        consumer.release(zero, 99)
        for _ in range(2):
            with pytest.raises(OffsetsUnknown) as caught:
                await consumer.take(1)
            assert caught.value.partitions == {zero}
        consumer.release(zero, 0)
        consumer.release(one, 0)
        assert _offsets(await consumer.take(5)) == list(range(5))
        assert await consumer.beginning_offsets([one]) == {one: 0}
        assert await consumer.end_offsets([zero, one]) == {zero: 0, one: 5}


async def test_a_membership_that_broke_down_is_a_doubt(kafka: KafkaSettings) -> None:
    topic = await make_topic(kafka)
    async with member(kafka, [topic]) as consumer:
        # As the client does to itself when it wants to join and to leave at once.
        consumer._consumer._coordinator._coordination_task.cancel()
        await asyncio.sleep(0.1)
        with pytest.raises(Doubt, match="membership"):
            await consumer.poll(0.1)


async def test_a_failing_callback_is_not_swallowed(kafka: KafkaSettings) -> None:
    topic = await make_topic(kafka)

    def fail(_: frozenset[TopicPartition]) -> None:
        raise ZeroDivisionError

    consumer = GroupConsumer(
        kafka, group=f"{kafka.prefix}.g", topics=[topic], on_assigned=fail, on_revoked=lambda _: None
    )
    async with consumer:
        with pytest.raises(Doubt, match="ZeroDivisionError"):
            await consumer.poll(10.0)


async def test_a_restart_of_the_broker_loses_nothing_and_poll_goes_on_meanwhile(own_broker: OwnBroker) -> None:
    kafka = own_broker.settings
    topic = await make_topic(kafka)
    tp = TopicPartition(topic, 0)
    await _fill(kafka, topic, 0, range(50))
    async with member(kafka, [topic]) as consumer:
        consumer.release(tp, 0)
        taken = _offsets(await consumer.take(50))
        await asyncio.to_thread(own_broker.stop, hard=True)
        start = time.monotonic()
        assert await consumer.poll(1.0) == []
        assert 0.9 < time.monotonic() - start < 10.0
        with pytest.raises(Unavailable):
            await consumer.commit({tp: 50})
        with pytest.raises(Unavailable):
            await consumer.end_offsets([tp], timeout_s=0.5)
        await asyncio.to_thread(own_broker.start)
        await _fill(kafka, topic, 0, range(50, 100))
        deadline = time.monotonic() + 30.0
        while len(taken) < 100 and time.monotonic() < deadline:
            taken += _offsets(await consumer.poll(0.2))
            # If the group met again, everything is paused once more, and we go on where we were.
            if consumer.assignment() and len(consumer.assigned) > 1:
                consumer.assigned.pop()
                consumer.release(tp, taken[-1] + 1)
        assert taken == list(range(100))


async def test_stop_needs_no_broker(own_broker: OwnBroker) -> None:
    topic = await make_topic(own_broker.settings)
    async with member(own_broker.settings, [topic], instance_id="one") as consumer:
        await asyncio.to_thread(own_broker.stop, hard=True)
        await consumer.poll(0.3)
        start = time.monotonic()
        await consumer.stop()
        assert time.monotonic() - start < 15.0
        with pytest.raises(Doubt, match="stopped"):
            await consumer.poll(0.1)
        assert not [task for task in asyncio.all_tasks() if "aiokafka" in repr(task)]


async def test_no_broker_at_the_start_is_unavailable() -> None:
    consumer = Member(KafkaSettings(bootstrap_servers="127.0.0.1:1"), ["nothing"])
    with pytest.raises(Unavailable):
        await consumer.start()
