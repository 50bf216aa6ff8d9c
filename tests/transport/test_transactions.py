"""A transaction is seen whole or not at all, by one owner, and every doubt ends the producer, by both protocols."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Iterator

import pytest

from ops.local.stack import Stack
from schemas.connection import KafkaSettings
from tests.stack import OwnBroker, fresh_name, kafka_settings, make_topic
from tests.transport.members import member
from tests.transport.protocols import use_first_protocol
from tests.transport.transacting import started, values
from transport.errors import Doubt, Fenced, Unavailable
from transport.kafka import Publisher
from transport.records import Outgoing, TopicPartition
from transport.tail import read_partition
from transport.transactions import FencedProducer


@pytest.fixture(scope="module")
def first_protocol(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A broker of a cluster that knows the first protocol alone."""
    stack = Stack(tmp_path_factory.mktemp("first"))
    stack.up("kafka")
    asyncio.run(use_first_protocol(kafka_settings(stack)))
    yield stack
    stack.down()


@pytest.fixture
def kafka(protocol: str, request: pytest.FixtureRequest) -> KafkaSettings:
    """A broker whose cluster has this protocol."""
    stack: Stack = request.getfixturevalue("first_protocol" if protocol == "first" else "stack")
    stack.up("kafka")
    return kafka_settings(stack)


@pytest.fixture(autouse=True)
def _no_forgotten_futures(caplog: pytest.LogCaptureFixture) -> None:
    """Arms the log capture that `_assert_nothing_forgotten` reads."""
    caplog.set_level(logging.ERROR, logger="asyncio")


def _assert_nothing_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    gc.collect()
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


async def test_a_transaction_is_seen_whole_or_not_at_all(kafka: KafkaSettings) -> None:
    one, two = await make_topic(kafka, partitions=2), await make_topic(kafka)
    group, source = f"{kafka.prefix}.g", TopicPartition(one, 1)
    producer = await started(kafka)
    reached: list[str] = []
    before_ms = time.time_ns() // 1_000_000

    messages = [Outgoing(one, b"a", key=b"k", headers=(("h", b"1"), ("h", b"2")), partition=0), Outgoing(two, b"b")]
    acks = await producer.commit(messages, {source: 42}, group, at=reached.append)

    assert reached == ["before_send", "before_offsets", "before_commit", "after_commit"]
    assert [(ack.topic, ack.partition, ack.offset) for ack in acks] == [(one, 0, 0), (two, 0, 0)]
    assert all(before_ms - 1_000 <= ack.timestamp_ms <= before_ms + 30_000 for ack in acks)
    [[record]] = [batch async for batch in read_partition(kafka, one, 0)]
    assert (record.key, record.value, record.headers) == (b"k", b"a", (("h", b"1"), ("h", b"2")))
    assert record.timestamp_ms == acks[0].timestamp_ms
    assert await values(kafka, two) == [b"b"]
    async with member(kafka, [one], group=group) as consumer:
        assert await consumer.committed([source, TopicPartition(one, 0)]) == {source: 42, TopicPartition(one, 0): None}
    await producer.close()


@pytest.mark.parametrize("point", ["before_offsets", "before_commit"])
async def test_a_death_before_the_commit_leaves_nothing_visible(
    kafka: KafkaSettings, point: str, caplog: pytest.LogCaptureFixture
) -> None:
    topic = await make_topic(kafka)
    source, group = TopicPartition(topic, 0), f"{kafka.prefix}.g"
    producer = await started(kafka)

    def die(reached: str) -> None:
        if reached == point:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await producer.commit([Outgoing(topic, b"lost")], {source: 1}, group, at=die)
    with pytest.raises(Doubt, match="start another one"):
        await producer.commit([Outgoing(topic, b"more")], {}, group)
    await producer.close()

    assert await values(kafka, topic) == []
    successor = await started(kafka)
    await successor.commit([Outgoing(topic, b"kept")], {}, group)
    assert await values(kafka, topic) == [b"kept"]
    async with member(kafka, [topic], group=group) as consumer:
        assert await consumer.committed([source]) == {source: None}
    await successor.close()
    _assert_nothing_forgotten(caplog)


async def test_a_takeover_ends_what_the_older_owner_left_open_and_shows_what_it_hid(kafka: KafkaSettings) -> None:
    topic = await make_topic(kafka)
    left = await started(kafka)

    def die(reached: str) -> None:
        if reached == "before_commit":
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await left.commit([Outgoing(topic, b"lost")], {}, "g", at=die)
    async with Publisher(kafka, client_id="other") as other:
        await other.publish(Outgoing(topic, b"hidden"))
    assert await values(kafka, topic) == []
    successor = await started(kafka)
    assert await values(kafka, topic) == [b"hidden"]
    await successor.close()
    await left.close()


async def test_a_newer_producer_fences_an_older_one_for_good(
    kafka: KafkaSettings, caplog: pytest.LogCaptureFixture
) -> None:
    topic = await make_topic(kafka)
    older = await started(kafka)
    await older.commit([Outgoing(topic, b"1")], {}, "g")
    newer = await started(kafka)
    with pytest.raises(Fenced):
        await older.commit([Outgoing(topic, b"zombie")], {TopicPartition(topic, 0): 9}, "g")
    with pytest.raises(Doubt):
        await older.commit([Outgoing(topic, b"zombie")], {}, "g")
    await newer.commit([Outgoing(topic, b"2")], {}, "g")
    start = time.monotonic()
    await older.close()
    await newer.close()
    assert time.monotonic() - start < 3.0
    assert await values(kafka, topic) == [b"1", b"2"]
    _assert_nothing_forgotten(caplog)


async def test_an_owner_fenced_midway_commits_nothing(kafka: KafkaSettings, caplog: pytest.LogCaptureFixture) -> None:
    topic = await make_topic(kafka)
    older = await started(kafka)
    newer = FencedProducer(kafka, transactional_id=older.transactional_id)
    takeover: list[asyncio.Task[None]] = []

    def overtake(reached: str) -> None:
        if reached == "before_send" and not takeover:
            takeover.append(asyncio.ensure_future(newer.start()))

    async def commit_until_overtaken() -> None:
        while True:
            await older.commit([Outgoing(topic, b"old")], {TopicPartition(topic, 0): 1}, "g", at=overtake)

    with pytest.raises(Doubt):
        await asyncio.wait_for(commit_until_overtaken(), 30.0)
    await asyncio.gather(*takeover, return_exceptions=True)
    seen = await values(kafka, topic)
    await newer.close()
    successor = await started(kafka)
    assert await values(kafka, topic) == seen
    for producer in (older, successor):
        await producer.close()
    _assert_nothing_forgotten(caplog)


async def test_one_failed_record_leaves_nothing_of_the_transaction(
    kafka: KafkaSettings, caplog: pytest.LogCaptureFixture
) -> None:
    small = await make_topic(kafka, config=[("max.message.bytes", "2000")])
    other = await make_topic(kafka)
    producer = await started(kafka)
    with pytest.raises(Doubt, match="MessageSizeTooLarge"):
        await producer.commit(
            [Outgoing(other, b"fine"), Outgoing(small, b"x" * 10_000)], {TopicPartition(other, 0): 1}, "g"
        )
    await producer.close()
    successor = await started(kafka)
    await successor.commit([Outgoing(other, b"later"), Outgoing(small, b"small")], {}, "g")
    await successor.close()
    assert await values(kafka, other) == [b"later"]
    assert await values(kafka, small) == [b"small"]
    _assert_nothing_forgotten(caplog)


async def test_a_missing_topic_is_a_doubt_within_the_limit(kafka: KafkaSettings) -> None:
    producer = await started(kafka)
    start = time.monotonic()
    with pytest.raises(Doubt, match=r"writing to nowhere\.at\.all"):
        await producer.commit([Outgoing("nowhere.at.all", b"x")], {}, "g")
    assert time.monotonic() - start < kafka.request_timeout_ms / 1_000
    await producer.close()


async def test_nothing_to_commit_asks_nobody(kafka: KafkaSettings) -> None:
    producer = await started(kafka)
    reached: list[str] = []
    assert await producer.commit([], {}, "g", at=reached.append) == []
    assert reached == []
    await producer.close()


async def test_offsets_alone_are_committed(kafka: KafkaSettings) -> None:
    topic = await make_topic(kafka)
    tp, group = TopicPartition(topic, 0), f"{kafka.prefix}.g"
    producer = await started(kafka)
    assert await producer.commit([], {tp: 7}, group) == []
    async with member(kafka, [topic], group=group) as consumer:
        assert await consumer.committed([tp]) == {tp: 7}
    await producer.close()


async def test_a_transaction_may_be_larger_than_a_batch(kafka: KafkaSettings) -> None:
    one, two = await make_topic(kafka), await make_topic(kafka)
    producer = await started(kafka)
    for _ in range(2):
        large = [Outgoing(one, bytes([number]) * 300_000) for number in range(5)]
        acks = await producer.commit([*large, Outgoing(two, b"small")], {}, "g")
        assert [ack.offset - acks[0].offset for ack in acks[:5]] == [0, 1, 2, 3, 4]
    seen = [(value or b"")[:1] for value in await values(kafka, one)]
    assert seen == [bytes([number]) for number in range(5)] * 2
    assert await values(kafka, two) == [b"small"] * 2
    await producer.close()


async def test_a_broker_killed_midway_is_a_doubt_and_the_successor_finds_all_or_nothing(
    own_broker: OwnBroker, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    kafka = own_broker.settings
    if protocol == "first":
        await use_first_protocol(kafka)
    one, two = await make_topic(kafka), await make_topic(kafka)
    for point in ("before_send", "before_offsets", "before_commit"):
        producer = await started(kafka)
        await producer.commit([Outgoing(one, b"1"), Outgoing(two, b"1")], {}, "g")

        def kill(reached: str, point: str = point) -> None:
            if reached == point:
                own_broker.stop(hard=True)

        start = time.monotonic()
        with pytest.raises(Doubt):
            await producer.commit([Outgoing(one, b"2"), Outgoing(two, b"2")], {TopicPartition(one, 0): 2}, "g", at=kill)
        assert time.monotonic() - start < kafka.request_timeout_ms / 1_000
        start = time.monotonic()
        await producer.close()
        assert time.monotonic() - start < 7.0
        assert not [task for task in asyncio.all_tasks() if "aiokafka" in repr(task)]

        await asyncio.to_thread(own_broker.start)
        successor = await started(kafka)
        assert await values(kafka, one) == await values(kafka, two)
        await successor.commit([Outgoing(one, b"3"), Outgoing(two, b"3")], {}, "g")
        assert (await values(kafka, one))[-1] == b"3"
        await successor.close()
    _assert_nothing_forgotten(caplog)


async def test_an_idle_producer_closes_without_a_broker(own_broker: OwnBroker) -> None:
    kafka = own_broker.settings
    topic = await make_topic(kafka)
    producer = await started(kafka)
    await producer.commit([Outgoing(topic, b"1")], {}, "g")
    await asyncio.to_thread(own_broker.stop, hard=True)
    start = time.monotonic()
    await producer.close()
    assert time.monotonic() - start < 7.0

    unstarted = FencedProducer(kafka, transactional_id=fresh_name())
    start = time.monotonic()
    with pytest.raises(Unavailable):
        await unstarted.start(timeout_s=1.0)
    assert time.monotonic() - start < 6.0
    await unstarted.close()
    assert not [task for task in asyncio.all_tasks() if "aiokafka" in repr(task)]
