"""What was asked in a transaction, and whose answer never came: repeated where a copy can do no harm, else a doubt."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stack import make_topic
from tests.transport.members import member
from tests.transport.protocols import use_first_protocol
from tests.transport.transacting import started, values
from tests.transport.wire import ApiKey, broker_behind_wire
from transport.errors import Doubt
from transport.records import Outgoing, TopicPartition


async def test_a_commit_whose_answer_is_lost_is_a_doubt_or_repeated_without_harm(tmp_path: Path, protocol: str) -> None:
    """By the second protocol the copy has an epoch that is over, so asking again can do nothing twice."""
    async with broker_behind_wire(tmp_path) as (kafka, wire):
        if protocol == "first":
            await use_first_protocol(kafka)
        topic = await make_topic(kafka)
        producer = await started(kafka)
        await producer.commit([Outgoing(topic, b"1")], {}, "g")
        wire.cut_after_request.add(ApiKey.END_TXN)
        if protocol == "first":
            with pytest.raises(Doubt):
                await producer.commit([Outgoing(topic, b"2")], {}, "g")
        else:
            await producer.commit([Outgoing(topic, b"2")], {}, "g")
            await producer.commit([Outgoing(topic, b"3")], {}, "g")
        assert not wire.cut_after_request
        await producer.close()
        successor = await started(kafka)
        assert await values(kafka, topic) == [b"1", b"2"] + ([b"3"] if protocol == "second" else [])
        await successor.close()


@pytest.mark.parametrize("key", [ApiKey.PRODUCE, ApiKey.ADD_PARTITIONS_TO_TXN, ApiKey.TXN_OFFSET_COMMIT])
async def test_a_request_whose_answer_is_lost_is_repeated_and_done_once(
    tmp_path: Path, protocol: str, key: ApiKey
) -> None:
    async with broker_behind_wire(tmp_path) as (kafka, wire):
        if protocol == "first":
            await use_first_protocol(kafka)
        topic, group = await make_topic(kafka), f"{kafka.prefix}.g"
        tp = TopicPartition(topic, 0)
        producer = await started(kafka)
        await producer.commit([Outgoing(topic, b"1")], {tp: 1}, group)
        wire.cut_after_request.add(key)
        acks = await producer.commit([Outgoing(topic, b"2"), Outgoing(topic, b"3")], {tp: 2}, group)
        # The mark at the end of the first transaction takes an offset.
        assert [ack.offset for ack in acks] == [2, 3]
        # By the second protocol the broker adds the partitions itself, over the wire as well.
        assert not wire.cut_after_request
        await producer.commit([Outgoing(topic, b"4")], {tp: 3}, group)
        assert await values(kafka, topic) == [b"1", b"2", b"3", b"4"]
        async with member(kafka, [topic], group=group) as consumer:
            assert await consumer.committed([tp]) == {tp: 3}
        await producer.close()
