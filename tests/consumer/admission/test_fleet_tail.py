"""What admission hears of the fleet, on a real broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from consumer.admission.fleet_tail import FleetTail
from schemas.connection import KafkaSettings
from schemas.fleet import HEARD_WITHIN_MS, Heartbeat, HeldJob
from schemas.topics import Topics
from tests.stack import OwnBroker, make_topic
from tests.until import until
from transport.kafka import Publisher
from transport.records import Ack, Outgoing


def worker(name: str, *held: HeldJob, pool: str = "default", ready: bool = True) -> Heartbeat:
    return Heartbeat(instance=name, stage="generation", pool=pool, partitions=[0], ready=ready, held=list(held))


async def tell(kafka: KafkaSettings, first: Heartbeat | str, *more: Heartbeat | str) -> Ack:
    """Heartbeats, and the names of those that leave; the ack of the last."""
    topic = Topics(kafka.prefix).fleet

    def said(beat: Heartbeat | str) -> Outgoing:
        name, value = (beat, None) if isinstance(beat, str) else (beat.instance, beat.model_dump_json().encode())
        return Outgoing(topic, value, name.encode(), partition=0)

    async with Publisher(kafka, client_id="test") as publisher:
        ack = await publisher.publish(said(first))
        for beat in more:
            ack = await publisher.publish(said(beat))
    return ack


@asynccontextmanager
async def following(kafka: KafkaSettings) -> AsyncIterator[FleetTail]:
    tail = FleetTail(kafka)
    task = asyncio.create_task(tail.run())
    try:
        yield tail
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_who_lives_and_what_is_held(kafka: KafkaSettings) -> None:
    await make_topic(kafka, name="fleet")
    job = HeldJob("acme", "r1", 2, "running")
    ack = await tell(kafka, worker("a", job), worker("b", ready=False), worker("c", pool="big"), worker("gone"), "gone")
    async with following(kafka) as tail:
        await until(lambda: len(tail.fleet.instances) == 3)
        fleet = tail.fleet
        now_ms = ack.timestamp_ms
        assert [heard.beat.instance for heard in fleet.workers("default", now_ms)] == ["a"]
        assert fleet.named_ms("acme", "r1", 2) == fleet.instances["a"].at_ms
        assert fleet.named_ms("acme", "r1", 1) is None
        assert fleet.workers("default", now_ms + HEARD_WITHIN_MS) == []
        assert tail.fleet is fleet
        await tell(kafka, "a", "c")
        await until(lambda: set(tail.fleet.instances) == {"b"})
        # A snapshot that was taken stays as it was.
        assert len(fleet.instances) == 3


async def test_what_is_no_heartbeat_is_passed_over(kafka: KafkaSettings) -> None:
    topic = await make_topic(kafka, name="fleet")
    async with Publisher(kafka, client_id="test") as publisher:
        await publisher.publish(Outgoing(topic, b"{", b"\xff", partition=0))
    await tell(kafka, worker("a"))
    async with following(kafka) as tail:
        await until(lambda: set(tail.fleet.instances) == {"a"})


async def test_a_broker_that_is_away_leaves_the_last_snapshot(own_broker: OwnBroker) -> None:
    kafka = own_broker.settings
    await make_topic(kafka, name="fleet")
    await tell(kafka, worker("a"))
    async with following(kafka) as tail:
        await until(lambda: "a" in tail.fleet.instances)
        await asyncio.to_thread(own_broker.stop, hard=True)
        began = time.monotonic()
        assert set(tail.fleet.instances) == {"a"}
        assert time.monotonic() - began < 1.0
        await asyncio.to_thread(own_broker.start)
        await tell(kafka, worker("b"))
        await until(lambda: set(tail.fleet.instances) == {"a", "b"})
