"""Records that leave together are each acknowledged or refused alone, and nobody waits twice for a dead broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from producer_api.lots import Lots
from schemas.connection import KafkaSettings
from tests.stack import OwnBroker, make_topic
from tests.until import until
from transport.errors import Doubt, Misconfigured, TransportError, Unavailable
from transport.kafka import Publisher
from transport.records import Ack, Outgoing
from transport.tail import read_partition


class Watched(Publisher):
    """It notes how many records left together."""

    def __init__(self, settings: KafkaSettings) -> None:
        super().__init__(settings, client_id="test")
        self.lots: list[int] = []

    async def publish_all(self, outs: Sequence[Outgoing], *, timeout_s: float = 10.0) -> list[Ack | TransportError]:
        self.lots.append(len(outs))
        return await super().publish_all(outs, timeout_s=timeout_s)


async def test_who_comes_meanwhile_leaves_together_and_in_order(kafka: KafkaSettings) -> None:
    topic = await make_topic(kafka)
    async with Watched(kafka) as publisher:
        lots = Lots(publisher)
        acks = await asyncio.gather(*(lots.publish(Outgoing(topic, b"%d" % number), 10) for number in range(200)))
        assert [ack.offset for ack in acks] == list(range(200))
        assert publisher.lots == [200]
        first = asyncio.create_task(lots.publish(Outgoing(topic, b"alone"), 10))
        await until(lambda: len(publisher.lots) == 2)
        await asyncio.gather(first, *(lots.publish(Outgoing(topic, b"behind"), 10) for _ in range(50)))
        assert publisher.lots == [200, 1, 50]
    written = [record.value async for batch in read_partition(kafka, topic, 0) for record in batch]
    assert written == [b"%d" % number for number in range(200)] + [b"alone"] + [b"behind"] * 50


async def test_what_is_too_large_is_refused_alone(kafka: KafkaSettings) -> None:
    topic = await make_topic(kafka, config=[("max.message.bytes", "2000")])
    async with Publisher(kafka, client_id="test") as publisher:
        lots = Lots(publisher)
        outs = [Outgoing(topic, b"x" * 10_000 if number == 3 else b"small") for number in range(6)]
        found = await asyncio.gather(*(lots.publish(out, 10) for out in outs), return_exceptions=True)
        assert [type(one) for one in found] == [Ack, Ack, Ack, type(found[3]), Ack, Ack]
        assert isinstance(found[3], Misconfigured)
        await lots.publish(Outgoing(topic, b"next"), 10)


async def test_a_dead_broker_is_waited_for_once(own_broker: OwnBroker) -> None:
    topic = await make_topic(own_broker.settings)
    async with Publisher(own_broker.settings, client_id="test") as publisher:
        lots = Lots(publisher)
        await lots.publish(Outgoing(topic, b"before"), 10)
        await asyncio.to_thread(own_broker.stop)
        began = time.monotonic()
        sent = asyncio.create_task(lots.publish(Outgoing(topic, b"sent"), 2))
        await asyncio.sleep(0.5)
        behind = asyncio.create_task(lots.publish(Outgoing(topic, b"behind"), 2))
        with pytest.raises(Doubt):
            await sent
        with pytest.raises(Unavailable, match="not sent"):
            await behind
        assert time.monotonic() - began < 4

        ended = asyncio.create_task(lots.publish(Outgoing(topic, b"at the end"), 30))
        await asyncio.sleep(0.1)
        late = asyncio.create_task(lots.publish(Outgoing(topic, b"behind it"), 30))
        await asyncio.sleep(0.1)
        await lots.stop()
        with pytest.raises(Doubt, match="ended"):
            await ended
        with pytest.raises(Unavailable, match="ended"):
            await late
