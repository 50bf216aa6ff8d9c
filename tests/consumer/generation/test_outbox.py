"""Outcomes on their way: once each, in their order, however the broker fares."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from consumer.generation.outbox import Outbox
from schemas.connection import KafkaSettings
from tests.stack import OwnBroker, make_topic
from tests.transport.members import until
from transport.errors import TooLarge, TransportError
from transport.kafka import Publisher
from transport.records import Ack, Outgoing
from transport.tail import read_partition


class Counting(Publisher):
    """Notes how many records went together. While ``gate`` is closed, they don't go yet."""

    def __init__(self, settings: KafkaSettings) -> None:
        super().__init__(settings, client_id="test")
        self.lots: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def publish_all(self, outs: Sequence[Outgoing], *, timeout_s: float = 1.0) -> list[Ack | TransportError]:
        self.lots.append(len(outs))
        await self.gate.wait()
        return await super().publish_all(outs, timeout_s=timeout_s)


async def _values(kafka: KafkaSettings, topic: str, partition: int) -> list[bytes | None]:
    return [record.value async for batch in read_partition(kafka, topic, partition) for record in batch]


async def test_what_comes_while_a_lot_is_on_its_way_is_the_next_lot(kafka: KafkaSettings) -> None:
    topic = await make_topic(kafka)
    async with Counting(kafka) as publisher:
        outbox = Outbox(publisher)
        publisher.gate.clear()
        one = asyncio.create_task(outbox.deliver([Outgoing(topic, b"0", partition=0)]))
        await until(lambda: publisher.lots == [1])
        many = [
            asyncio.create_task(outbox.deliver([Outgoing(topic, b"%d" % number, partition=0)]))
            for number in range(1, 50)
        ]
        await asyncio.sleep(0.05)
        assert publisher.lots == [1]
        publisher.gate.set()
        await asyncio.gather(one, *many)
        assert publisher.lots == [1, 49]
    assert await _values(kafka, topic, 0) == [b"%d" % number for number in range(50)]


async def test_one_that_can_never_be_written_is_given_back_and_its_mates_are_written(kafka: KafkaSettings) -> None:
    """Also those that the broker refuses with it, and those of the batches behind."""
    topic = await make_topic(kafka, config=[("max.message.bytes", "400000")])
    sizes = (300_000, 450_000, 9, 300_000, 300_000, 9)
    outs = [Outgoing(topic, bytes([n]) * size, partition=0) for n, size in enumerate(sizes)]
    async with Counting(kafka) as publisher:
        outbox = Outbox(publisher)
        await outbox.deliver([Outgoing(topic, b"before", partition=0)])
        async with asyncio.timeout(20):
            told = await asyncio.gather(*(outbox.deliver([out]) for out in outs), return_exceptions=True)
        assert [type(one) for one in told] == [type(None), TooLarge] + [type(None)] * 4
        assert publisher.lots == [1, 6], "it was repeated"
    assert await _values(kafka, topic, 0) == [b"before", *(out.value for out in outs if out is not outs[1])]


async def test_a_partition_that_can_not_be_written_holds_up_no_other(kafka: KafkaSettings) -> None:
    topic = await make_topic(kafka)
    async with Counting(kafka) as publisher:
        outbox = Outbox(publisher)
        stuck = asyncio.create_task(outbox.deliver([Outgoing(topic, b"x", partition=7)]))
        async with asyncio.timeout(10):
            await outbox.deliver([Outgoing(topic, b"a", partition=0)])
        await until(lambda: len(publisher.lots) > 4)
        assert not stuck.done()
        stuck.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stuck
        # Nobody waits for it any more.
        await until(lambda: publisher.lots[-1] == 0)
        await outbox.close()
    assert await _values(kafka, topic, 0) == [b"a"]


async def test_a_broker_that_comes_back_gets_everything_once(own_broker: OwnBroker) -> None:
    kafka = own_broker.settings
    topic = await make_topic(kafka)
    async with Counting(kafka) as publisher:
        outbox = Outbox(publisher)
        await outbox.deliver([Outgoing(topic, b"before", partition=0)])
        await asyncio.to_thread(own_broker.stop, hard=True)
        during = asyncio.create_task(
            outbox.deliver([Outgoing(topic, b"%d" % number, partition=0) for number in range(20)])
        )
        await asyncio.sleep(2.0)
        assert not during.done()
        await asyncio.to_thread(own_broker.start)
        async with asyncio.timeout(60):
            await during
        await outbox.close()
    values = await _values(kafka, topic, 0)
    # A lot whose limit passed may have been written as well: whole, and in its order.
    assert set(values) == {b"before", *(b"%d" % number for number in range(20))}


class Broken(Counting):
    """Has a bug for as long as ``bug`` is true."""

    bug = True

    async def publish_all(self, outs: Sequence[Outgoing], *, timeout_s: float = 1.0) -> list[Ack | TransportError]:
        if self.bug:
            raise ArithmeticError("a bug")
        return await super().publish_all(outs, timeout_s=timeout_s)


async def test_a_bug_is_told_to_whoever_waits(kafka: KafkaSettings) -> None:
    topic = await make_topic(kafka)
    async with Broken(kafka) as publisher:
        outbox = Outbox(publisher)
        outs = [Outgoing(topic, value, None, (), 0) for value in (b"1", b"2")]
        with pytest.raises(ArithmeticError, match="a bug"):
            await asyncio.wait_for(outbox.deliver(outs), 5)
        publisher.bug = False
        await asyncio.wait_for(outbox.deliver([Outgoing(topic, b"3", None, (), 0)]), 20)
        await outbox.close()
    assert await _values(kafka, topic, 0) == [b"3"]
