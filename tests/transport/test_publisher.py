"""What is acknowledged is written, and what cannot be written is said in time."""

from __future__ import annotations

import asyncio
import time

import pytest

from schemas.connection import KafkaSettings
from tests.stack import OwnBroker, make_topic
from tests.transport.members import until
from transport.batches import MAX_RECORD_BYTES
from transport.errors import Misconfigured, TooLarge, Unavailable
from transport.kafka import Publisher
from transport.partitioning import partition_of
from transport.records import Ack, Outgoing, Record
from transport.tail import read_partition


async def _records(kafka: KafkaSettings, topic: str, partition: int = 0) -> list[Record]:
    return [record async for batch in read_partition(kafka, topic, partition) for record in batch]


async def test_what_is_acknowledged_is_there_as_it_was_given(kafka: KafkaSettings) -> None:
    topic = await make_topic(kafka, partitions=4)
    async with Publisher(kafka, client_id="test") as publisher:
        headers = (("ce_id", b"1"), ("ce_id", b"2"), ("empty", None))
        ack = await publisher.publish(Outgoing(topic, b"v", key=b"acme", headers=headers))
        assert (ack.topic, ack.partition, ack.offset) == (topic, partition_of(b"acme", 4), 0)
        [record] = await _records(kafka, topic, ack.partition)
        assert record == Record(topic, ack.partition, 0, ack.timestamp_ms, b"acme", b"v", headers)
        deletion = await publisher.publish(Outgoing(topic, None, key=b"k", partition=3))
        assert (await _records(kafka, topic, 3))[-1].value is None
        assert deletion.partition == 3


async def test_a_refused_record_does_not_spoil_its_partition(kafka: KafkaSettings) -> None:
    topic = await make_topic(kafka, config=[("max.message.bytes", "2000")])
    async with Publisher(kafka, client_id="test") as publisher:
        await publisher.publish(Outgoing(topic, b"first"))
        for _ in range(2):
            with pytest.raises(Misconfigured, match="MessageSizeTooLarge"):
                await publisher.publish(Outgoing(topic, b"x" * 10_000))
            # Out of sequence, and so every later one, had the publisher not begun anew.
            await publisher.publish(Outgoing(topic, b"next"))
        with pytest.raises(Misconfigured, match="larger than"):
            await publisher.publish(Outgoing(topic, b"x" * (MAX_RECORD_BYTES + 1)))
    assert [record.value for record in await _records(kafka, topic)] == [b"first", b"next", b"next"]


async def test_best_effort_goes_on_after_a_refused_record(kafka: KafkaSettings) -> None:
    topic = await make_topic(kafka, config=[("max.message.bytes", "2000")])
    async with Publisher(kafka, client_id="test") as publisher:
        publisher.publish_nowait(Outgoing(topic, b"1"))
        await publisher.flush()
        publisher.publish_nowait(Outgoing(topic, b"x" * 10_000))
        await publisher.flush()
        await until(lambda: publisher.dropped == 1)
        publisher.publish_nowait(Outgoing(topic, b"2"))
        await publisher.flush()
        assert publisher.dropped == 1
    assert [record.value for record in await _records(kafka, topic)] == [b"1", b"2"]


async def test_a_missing_topic_is_said_and_hides_nothing(kafka: KafkaSettings) -> None:
    topic = await make_topic(kafka)
    async with Publisher(kafka, client_id="test") as publisher:
        with pytest.raises(Unavailable, match=r"no\.such\.topic"):
            await publisher.publish(Outgoing("no.such.topic", b"x"), timeout_s=1.0)
        publisher.publish_nowait(Outgoing("no.such.topic", b"x"))
        await publisher.publish(Outgoing(topic, b"y"))
        await until(lambda: publisher.dropped == 1)


async def test_without_a_broker_nothing_waits_longer_than_it_says(own_broker: OwnBroker) -> None:
    kafka = own_broker.settings
    topic = await make_topic(kafka)
    async with Publisher(kafka, client_id="test") as publisher:
        await publisher.publish(Outgoing(topic, b"before"))
        await asyncio.to_thread(own_broker.stop, hard=True)

        start = time.monotonic()
        with pytest.raises(Unavailable):
            await publisher.publish(Outgoing(topic, b"during"), timeout_s=0.5)
        assert time.monotonic() - start < 4.0
        start = time.monotonic()
        for number in range(3_000):
            publisher.publish_nowait(Outgoing(topic, b"%d" % number * 1_000))
        assert time.monotonic() - start < 3.0
        assert publisher.dropped >= 2_000

        await asyncio.to_thread(own_broker.start)
        await publisher.publish(Outgoing(topic, b"after"), timeout_s=30.0)
        values = [record.value for record in await _records(kafka, topic)]
        assert values.count(b"after") == 1

        await asyncio.to_thread(own_broker.stop, hard=True)
        publisher.publish_nowait(Outgoing(topic, b"too late"))
        start = time.monotonic()
    assert time.monotonic() - start < 8.0
    assert not [task for task in asyncio.all_tasks() if "aiokafka" in repr(task)]


async def test_no_broker_at_the_start_is_unavailable() -> None:
    publisher = Publisher(KafkaSettings(bootstrap_servers="127.0.0.1:1"), client_id="test")
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
        await publisher.start()
    await publisher.stop()


async def test_many_are_written_in_their_order_and_each_is_acknowledged(kafka: KafkaSettings) -> None:
    topic = await make_topic(kafka, partitions=2)
    # More than a batch holds.
    outs = [Outgoing(topic, b"%05d" % number + b"x" * 9_000, partition=number % 2) for number in range(200)]
    async with Publisher(kafka, client_id="test") as publisher:
        first = await publisher.publish_all(outs[:150])
        acks = [ack for ack in [*first, *await publisher.publish_all(outs[150:])] if isinstance(ack, Ack)]
    for partition in (0, 1):
        written = await _records(kafka, topic, partition)
        mine = [(out, ack) for out, ack in zip(outs, acks, strict=True) if out.partition == partition]
        assert [record.value for record in written] == [out.value for out, _ in mine]
        assert [(record.offset, record.timestamp_ms) for record in written] == [
            (ack.offset, ack.timestamp_ms) for _, ack in mine
        ]


async def test_of_many_only_those_that_failed_are_said_to_have_failed(kafka: KafkaSettings) -> None:
    topic = await make_topic(kafka, partitions=2, config=[("max.message.bytes", "2000")])
    good, refused = Outgoing(topic, b"good", partition=0), Outgoing(topic, b"x" * 10_000, partition=1)
    async with Publisher(kafka, client_id="test") as publisher:
        for _ in range(2):
            acked, failed = await publisher.publish_all([good, refused])
            assert isinstance(acked, Ack)
            assert isinstance(failed, Misconfigured)
        # One that can't even be sent, behind one that can.
        acked, failed = await publisher.publish_all([good, Outgoing(topic, b"x" * (MAX_RECORD_BYTES + 1), partition=1)])
        assert isinstance(acked, Ack)
        assert isinstance(failed, Misconfigured)
        # And one whose partition takes it afterwards.
        assert isinstance((await publisher.publish_all([Outgoing(topic, b"next", partition=1)]))[0], Ack)
    assert [record.value for record in await _records(kafka, topic, 0)] == [b"good"] * 3
    assert [record.value for record in await _records(kafka, topic, 1)] == [b"next"]


async def test_after_a_lot_of_several_batches_whose_first_was_refused_the_next_is_written(kafka: KafkaSettings) -> None:
    topic = await make_topic(kafka, config=[("max.message.bytes", "400000")])
    async with Publisher(kafka, client_id="test") as publisher:
        await publisher.publish(Outgoing(topic, b"first"))
        refused = await publisher.publish_all([Outgoing(topic, b"x" * 450_000)] * 2)
        assert [type(one) for one in refused] == [TooLarge] * 2
        (acked,) = await publisher.publish_all([Outgoing(topic, b"next")])
        assert isinstance(acked, Ack), acked
    assert [record.value for record in await _records(kafka, topic)] == [b"first", b"next"]
