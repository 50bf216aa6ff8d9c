"""An error about committed offsets is never read as "there are none"."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiokafka.errors import KafkaError

from schemas.connection import KafkaSettings
from tests.stack import OwnBroker, make_topic
from tests.transport.members import member
from tests.transport.wire import ApiKey, broker_behind_wire, offset_fetch_error
from transport.errors import Misconfigured, OffsetsUnknown
from transport.kafka import Publisher
from transport.records import Outgoing, TopicPartition

LOADING, NO_COORDINATOR, NOT_COORDINATOR, FORBIDDEN = 14, 15, 16, 30


async def _filled_topic(kafka: KafkaSettings, records: int) -> TopicPartition:
    topic = await make_topic(kafka)
    async with Publisher(kafka, client_id="fill") as publisher:
        for number in range(records):
            await publisher.publish(Outgoing(topic, b"%d" % number, partition=0))
    return TopicPartition(topic, 0)


async def test_none_means_that_nothing_was_committed(kafka: KafkaSettings) -> None:
    tp = await _filled_topic(kafka, 3)
    async with member(kafka, [tp.topic]) as consumer:
        assert await consumer.committed([tp]) == {tp: None}
        await consumer.commit({tp: 2})
        assert await consumer.committed([tp]) == {tp: 2}
        assert await consumer.committed([]) == {}


async def test_an_error_at_the_top_of_the_response_is_never_none(tmp_path: Path) -> None:
    async with broker_behind_wire(tmp_path) as (kafka, wire):
        tp = await _filled_topic(kafka, 10)
        async with member(kafka, [tp.topic]) as consumer:
            await consumer.commit({tp: 7})
            for code in (LOADING, NO_COORDINATOR, NOT_COORDINATOR):
                wire.replace_response[ApiKey.OFFSET_FETCH] = offset_fetch_error(code)
                wire.requests.clear()
                # What the client itself makes of such a response: this is the trap.
                assert await consumer._consumer.committed(tp) is None

                with pytest.raises(OffsetsUnknown) as caught:
                    await consumer.committed([tp], timeout_s=0.5)
                assert caught.value.partitions == {tp}
                # Whoever is not, or no longer, the coordinator is not asked again before looking for it anew.
                assert (wire.requests[ApiKey.FIND_COORDINATOR] > 0) == (code != LOADING)

                waiting = asyncio.create_task(consumer.committed([tp], timeout_s=10.0))
                await asyncio.sleep(0.2)
                assert not waiting.done()
                del wire.replace_response[ApiKey.OFFSET_FETCH]
                assert await waiting == {tp: 7}

            # A refusal is not tried again.
            wire.replace_response[ApiKey.OFFSET_FETCH] = offset_fetch_error(FORBIDDEN)
            before = wire.requests[ApiKey.OFFSET_FETCH]
            with pytest.raises(Misconfigured):
                await consumer.committed([tp])
            assert wire.requests[ApiKey.OFFSET_FETCH] == before + 1


async def test_restarts_of_the_broker_never_turn_an_offset_into_none(own_broker: OwnBroker) -> None:
    kafka = own_broker.settings
    tp = await _filled_topic(kafka, 60)
    answers: list[int | None] = []
    ended = asyncio.Event()
    async with member(kafka, [tp.topic]) as consumer:
        await consumer.commit({tp: 50})

        async def ask() -> None:
            while not ended.is_set():
                try:
                    answers.append((await consumer.committed([tp], timeout_s=0.5))[tp])
                except OffsetsUnknown:
                    await asyncio.sleep(0.01)
                except KafkaError as leaked:
                    raise AssertionError("an error of the client came through") from leaked

        asking = asyncio.create_task(ask())
        for _ in range(2):
            before = len(answers)
            await own_broker.restart(hard=True)
            while len(answers) < before + 20:
                await asyncio.sleep(0.05)
                assert not asking.done(), asking.exception()
        ended.set()
        await asking
    assert set(answers) == {50}
