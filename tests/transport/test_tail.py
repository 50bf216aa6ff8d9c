"""Reading ends where it should, and following loses nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from schemas.connection import KafkaSettings
from schemas.topics import TopicSpec
from tests.stack import OwnBroker, fresh_name, make_topic
from transport.errors import OffsetsUnknown, Unavailable
from transport.kafka import Publisher
from transport.reader import bounds, read_bounds
from transport.records import Outgoing, Record, TopicPartition
from transport.tail import Tail, read_partition
from transport.topics import ensure_topics
from transport.transactions import FencedProducer


async def _fill(kafka: KafkaSettings, topic: str, numbers: range, *, partitions: int = 1) -> None:
    async with Publisher(kafka, client_id="fill") as publisher:
        await asyncio.gather(
            *(publisher.publish(Outgoing(topic, b"%d" % n, partition=n % partitions)) for n in numbers)
        )


async def _read(kafka: KafkaSettings, topic: str, **options: int) -> list[int]:
    return [int(r.value or b"") async for batch in read_partition(kafka, topic, 0, **options) for r in batch]  # type: ignore[arg-type]


async def _aborted(kafka: KafkaSettings, topic: str, name: str, records: int) -> None:
    """Records of a transaction that its successor's start aborts."""
    producer = FencedProducer(kafka, transactional_id=f"{kafka.prefix}-{name}")
    await producer.start()

    def die(reached: str) -> None:
        if reached == "before_commit":
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await producer.commit([Outgoing(topic, b"-1", partition=0)] * records, {}, "g", at=die)
    await producer.close()
    successor = FencedProducer(kafka, transactional_id=producer.transactional_id)
    await successor.start()
    await successor.close()


async def _take(tail: Tail, count: int, *, within_s: float = 20.0) -> list[Record]:
    taken: list[Record] = []
    async with asyncio.timeout(within_s):
        while len(taken) < count:
            taken += await anext(tail)
    return taken


async def _quiet(tail: Tail, seconds: float) -> None:
    """Nothing comes for so long."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await anext(tail)


async def test_an_empty_partition_and_one_of_markers_alone_end_at_once(kafka: KafkaSettings) -> None:
    topic = await make_topic(kafka)
    assert await _read(kafka, topic) == []
    await _aborted(kafka, topic, "a", 50)
    start = time.monotonic()
    assert await _read(kafka, topic) == []
    assert time.monotonic() - start < 8.0


async def test_reading_passes_markers_and_aborted_records_and_ends(kafka: KafkaSettings) -> None:
    topic = await make_topic(kafka)
    producer = FencedProducer(kafka, transactional_id=f"{kafka.prefix}-x")
    await producer.start()
    for number in range(20):
        await producer.commit([Outgoing(topic, b"%d" % number)], {}, "g")
        if number == 10:
            await _aborted(kafka, topic, "b", 3)
    await _aborted(kafka, topic, "c", 30)
    assert await _read(kafka, topic) == list(range(20))
    # 20 records, each with its marker, and two aborted transactions: offsets are not counts.
    assert await _read(kafka, topic, from_offset=2) == list(range(1, 20))
    await producer.close()


async def test_the_end_is_where_it_was_at_the_call(kafka: KafkaSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = await make_topic(kafka)
    await _fill(kafka, topic, range(10))

    async def bounds_and_then_more(
        consumer: Any, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, tuple[int, int]]:
        found = await bounds(consumer, partitions)
        await _fill(kafka, topic, range(10, 20))
        return found

    monkeypatch.setattr("transport.tail.bounds", bounds_and_then_more)
    assert await _read(kafka, topic) == list(range(10))


async def test_an_open_transaction_is_not_waited_for(kafka: KafkaSettings) -> None:
    topic = await make_topic(kafka)
    await _fill(kafka, topic, range(3))
    producer = FencedProducer(kafka, transactional_id=f"{kafka.prefix}-x")
    await producer.start()
    reading: list[asyncio.Task[list[int]]] = []

    def look(reached: str) -> None:
        if reached == "before_commit":
            reading.append(asyncio.ensure_future(_read(kafka, topic)))

    await producer.commit([Outgoing(topic, b"9")], {}, "g", at=look)
    assert (await reading[0])[:3] == [0, 1, 2]
    assert await _read(kafka, topic) == [0, 1, 2, 9]
    await producer.close()


async def test_an_offset_outside_the_log_is_said(kafka: KafkaSettings) -> None:
    topic = await make_topic(kafka)
    await _fill(kafka, topic, range(3))
    assert await _read(kafka, topic, from_offset=3) == []
    tp = TopicPartition(topic, 0)
    assert await read_bounds(kafka, [tp]) == {tp: (0, 3)}
    with pytest.raises(OffsetsUnknown, match="offset 4 is outside the log, which goes from 0 to 3"):
        await _read(kafka, topic, from_offset=4)
    with pytest.raises(Unavailable):
        await _read(kafka, "no.such.topic", timeout_s=1)


async def test_caught_up_once_what_was_there_is_taken(kafka: KafkaSettings) -> None:
    topic = await make_topic(kafka, partitions=4)
    await _fill(kafka, topic, range(100), partitions=4)
    async with Tail(kafka, [topic]) as tail:
        taken = 0
        while taken < 100:
            assert not tail.caught_up.is_set()
            taken += len(await anext(tail))
            assert sum(tail.positions().values()) == taken
        # The last batch is in our hands, not yet dealt with.
        assert not tail.caught_up.is_set()
        waiting = asyncio.ensure_future(anext(tail))
        await asyncio.wait_for(tail.caught_up.wait(), 5.0)
        assert not waiting.done()
        await _fill(kafka, topic, range(100, 101))
        assert [record.value for record in await waiting] == [b"100"]


async def test_caught_up_behind_aborted_records_and_in_an_empty_topic(kafka: KafkaSettings) -> None:
    topic, empty = await make_topic(kafka), await make_topic(kafka, partitions=2)
    await _aborted(kafka, topic, "a", 5)
    async with Tail(kafka, [topic, empty]) as tail:
        await _quiet(tail, 2.0)
        assert tail.caught_up.is_set()


async def test_where_to_start(kafka: KafkaSettings) -> None:
    topic = await make_topic(kafka)
    tp = TopicPartition(topic, 0)
    await _fill(kafka, topic, range(5))
    await asyncio.sleep(1.5)
    await _fill(kafka, topic, range(5, 10))

    async with Tail(kafka, [topic], start="latest") as tail:
        await _quiet(tail, 1.0)
        assert tail.caught_up.is_set()
        await _fill(kafka, topic, range(10, 11))
        assert [record.offset for record in await _take(tail, 1)] == [10]
    async with Tail(kafka, [topic], start={tp: 7}) as tail:
        assert [record.offset for record in await _take(tail, 4)] == [7, 8, 9, 10]
        assert tail.positions() == {tp: 11}
    async with Tail(kafka, [topic], start={}) as tail:
        assert len(await _take(tail, 11)) == 11
    async with Tail(kafka, [topic], start=timedelta(hours=1)) as tail:
        assert len(await _take(tail, 11)) == 11
    async with Tail(kafka, [topic], start=timedelta(0)) as tail:
        await _quiet(tail, 0.7)


async def test_a_stored_position_beyond_the_end_means_a_topic_made_anew(kafka: KafkaSettings) -> None:
    topic = await make_topic(kafka)
    tail = Tail(kafka, [topic], start={TopicPartition(topic, 0): 5})
    with pytest.raises(OffsetsUnknown, match="made anew"):
        await tail.__aenter__()


async def test_topics_and_partitions_that_appear_later_are_read_from_their_beginning(kafka: KafkaSettings) -> None:
    topic = await make_topic(kafka)
    late = f"{kafka.prefix}.{fresh_name()}"
    await _fill(kafka, topic, range(3))
    async with Tail(kafka, [topic, late], start="latest") as tail:
        await _quiet(tail, 0.5)
        await ensure_topics(kafka, [TopicSpec(late, 2, {})])
        await _fill(kafka, late, range(4), partitions=2)
        records = await _take(tail, 4)
        assert {(record.topic, record.partition, record.offset) for record in records} == {
            (late, 0, 0),
            (late, 0, 1),
            (late, 1, 0),
            (late, 1, 1),
        }
        await _fill(kafka, topic, range(3, 4))
        assert [record.value for record in await _take(tail, 1)] == [b"3"]


async def test_restarts_of_the_broker_lose_and_repeat_nothing(own_broker: OwnBroker) -> None:
    kafka = own_broker.settings
    topic = await make_topic(kafka, partitions=2)
    seen: list[tuple[int, int]] = []
    async with Tail(kafka, [topic]) as tail:

        async def follow() -> None:
            async for batch in tail:
                seen.extend((record.partition, record.offset) for record in batch)

        following = asyncio.create_task(follow())
        await _fill(kafka, topic, range(100), partitions=2)
        for hard in (True, False):
            await own_broker.restart(hard=hard)
            await _fill(kafka, topic, range(100), partitions=2)
        deadline = time.monotonic() + 30.0
        while len(seen) < 300 and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
            assert not following.done(), following.exception()
        following.cancel()
    assert sorted(seen) == [(partition, offset) for partition in (0, 1) for offset in range(150)]
    for partition in (0, 1):
        assert [offset for p, offset in seen if p == partition] == list(range(150))
    assert tail.skipped == 0


async def test_no_broker_at_the_start_is_unavailable() -> None:
    tail = Tail(KafkaSettings(bootstrap_servers="127.0.0.1:1"), ["a"])
    with pytest.raises(Unavailable):
        await tail.__aenter__()


async def test_only_some_partitions_are_followed(kafka: KafkaSettings) -> None:
    """A reader of one key reads its partition; records on the others are neither delivered nor waited for."""
    topic = await make_topic(kafka, partitions=4)
    async with Publisher(kafka, client_id="test") as publisher:
        for number in range(4):
            await publisher.publish(Outgoing(topic, f"in {number}".encode(), partition=number))
    seen: list[tuple[int, int]] = []

    def only(tp: TopicPartition, count: int) -> bool:
        seen.append((tp.partition, count))
        return tp.partition == 2

    async with Tail(kafka, [topic], only=only) as tail:
        batch = await asyncio.wait_for(anext(tail), 10)
        assert [record.value for record in batch] == [b"in 2"]
        assert set(tail.positions()) == {TopicPartition(topic, 2)}
    assert {count for _, count in seen} == {4}
