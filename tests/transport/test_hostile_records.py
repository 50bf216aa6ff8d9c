"""Records that nobody's client should write and anybody's can: they reach our readers like any other."""

from __future__ import annotations

import asyncio
import gzip
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from schemas.connection import KafkaSettings
from schemas.topics import Topics
from tests.stack import make_topic
from transport import header_names
from transport.group import GroupConsumer
from transport.records import Record, TopicPartition
from transport.tail import Tail, read_partition
from transport.topics import ensure_topics

# The client's encoder in Python asks the name for its bytes: this one answers with some that are no UTF-8.
WRITER = r"""
import asyncio, sys
from aiokafka import AIOKafkaProducer

class Name(str):
    def encode(self, *_):
        return b"ce_\xff\xfe"

async def main(servers, topic, codec):
    async with AIOKafkaProducer(
        bootstrap_servers=servers, compression_type=codec or None, linger_ms=200, enable_idempotence=True
    ) as producer:
        sent = [
            await producer.send(topic, value, partition=0, headers=[("good", b"1"), (name, b"2"), ("good", b"3")])
            for value, name in ((b"before", "fine"), (b"hostile", Name("x")), (b"after", "fine"))
        ]
        await asyncio.gather(*sent)

asyncio.run(main(*sys.argv[1:]))
"""


async def write(settings: KafkaSettings, topic: str, codec: str) -> None:
    await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", WRITER, settings.bootstrap_servers, topic, codec],
        env={**os.environ, "AIOKAFKA_NO_EXTENSIONS": "1"},
        check=True,
        timeout=30,
    )


async def by_partition(settings: KafkaSettings, topic: str) -> list[Record]:
    return [record async for batch in read_partition(settings, topic, 0) for record in batch]


async def by_tail(settings: KafkaSettings, topic: str) -> list[Record]:
    found: list[Record] = []
    async with asyncio.timeout(20), Tail(settings, [topic]) as tail:
        async for batch in tail:
            found += batch
            if len(found) >= 3:
                break
    return found


async def by_group(settings: KafkaSettings, topic: str) -> list[Record]:
    assigned = asyncio.Event()
    consumer = GroupConsumer(
        settings,
        group=f"{topic}-group",
        topics=[topic],
        assignor="range",
        session_timeout_s=6,
        max_poll_interval_s=60,
        on_assigned=lambda _: assigned.set(),
        on_revoked=lambda _: None,
    )
    await consumer.start()
    found: list[Record] = []
    try:
        async with asyncio.timeout(20):
            while not assigned.is_set():
                await consumer.poll(0.1)
            consumer.release(TopicPartition(topic, 0), 0)
            while len(found) < 3:
                found += await consumer.poll(0.1)
    finally:
        await consumer.stop()
    return found


@pytest.mark.parametrize("codec", ["", "gzip"])
@pytest.mark.parametrize("read", [by_partition, by_tail, by_group])
async def test_a_header_name_that_is_no_text(
    kafka: KafkaSettings, read: Callable[[KafkaSettings, str], Coroutine[Any, Any, list[Record]]], codec: str
) -> None:
    topic = await make_topic(kafka)
    await write(kafka, topic, codec)
    records = await read(kafka, topic)
    assert [record.value for record in records] == [b"before", b"hostile", b"after"]
    assert records[1].headers == (("good", b"1"), ("ce_\ufffd\ufffd", b"2"), ("good", b"3"))
    assert records[2].headers == (("good", b"1"), ("fine", b"2"), ("good", b"3"))
    assert [record.offset for record in records] == [0, 1, 2]


class TestRequestsTopic:
    """What others write there is unpacked by the broker, so that no codec of theirs has to be known here."""

    async def topic(self, settings: KafkaSettings) -> str:
        topics = Topics(settings.prefix)
        specs = topics.specs(partitions=1, jobs_partitions=1, replication=1, pools=["default"])
        await ensure_topics(settings, [spec for spec in specs if spec.name == topics.requests])
        return topics.requests

    async def test_a_compressed_batch_lies_there_unpacked(self, kafka: KafkaSettings) -> None:
        topic = await self.topic(kafka)
        async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, compression_type="gzip") as producer:
            await producer.send_and_wait(topic, b"x" * 10_000)
        seen: list[int] = []

        class Watching(header_names._Records):
            def next_batch(self) -> Any:
                batch: Any = super().next_batch()
                seen.append(batch.compression_type)
                return batch

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("aiokafka.consumer.fetcher.MemoryRecords", Watching)
            assert [record.value for record in await by_partition(kafka, topic)] == [b"x" * 10_000]
        assert seen == [0]

    async def test_a_bomb_is_refused_where_it_arrives(self, kafka: KafkaSettings) -> None:
        topic = await self.topic(kafka)
        bomb = b"\0" * (1536 * 1024)
        assert len(gzip.compress(bomb)) < 10_000
        async with AIOKafkaProducer(
            bootstrap_servers=kafka.bootstrap_servers, compression_type="gzip", max_request_size=4 * 1024 * 1024
        ) as producer:
            with pytest.raises(MessageSizeTooLargeError):
                await producer.send_and_wait(topic, bomb)
