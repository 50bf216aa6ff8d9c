"""Lag tools see how far a partition has got: within a second, and at once when it is stopped."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from consumer.admission.group_offsets import GroupOffsets
from consumer.admission.state import PartitionState
from schemas.settings import Settings
from tests.consumer.admission.world import World, rules, tenant
from tests.house import House
from transport.kafka import client_options
from transport.partitioning import partition_of
from transport.records import TopicPartition


@pytest.fixture
async def house(settings: Settings, tmp_path: Path) -> AsyncIterator[House]:
    house = await House.build(settings, tmp_path)
    yield house
    house.close()


async def told(house: House, partition: int) -> int | None:
    """The group's offset of the requests."""
    admin = AIOKafkaAdminClient(**client_options(house.settings.kafka))
    await admin.start()
    try:
        found = await admin.list_consumer_group_offsets(house.topics.group("admission"))
    finally:
        await admin.close()
    place = TopicPartition(house.topics.requests, partition)
    return found[place].offset if place in found else None


async def test_the_group_follows_and_is_told_at_the_end(house: House) -> None:
    home = partition_of(b"acme", house.settings.kafka.partitions)
    stage = await house.admission().ready()
    await house.publish(*(house.request("acme") for _ in range(3)))
    await house.until(lambda found: len(found) == 3)
    async with asyncio.timeout(5):
        while await told(house, home) != 3:  # noqa: ASYNC110 - the broker does not tell
            await asyncio.sleep(0.1)
    await house.publish(house.request("acme"))
    await house.until(lambda found: len(found) == 4)
    stage.signal(signal.SIGTERM)
    assert await stage.ended() == 0
    assert await told(house, home) == 4


def test_once_a_second_and_never_the_same_twice() -> None:
    world = World(rules(tenant()))
    state, offsets = PartitionState(), GroupOffsets()
    state.next_offsets = dict.fromkeys(world.rules.inputs.values(), 0)
    first = offsets.due(state, world.rules, 10.0)
    assert set(first) == {TopicPartition(topic, world.rules.partition) for topic in world.rules.inputs}
    # Not committed: it is due still.
    assert offsets.due(state, world.rules, 10.0) == first
    offsets.told(first, 10.0)
    state.next_offsets["requests"] = 7
    assert offsets.due(state, world.rules, 10.9) == {}
    second = offsets.due(state, world.rules, 11.0)
    assert second != first and 7 in second.values()
    offsets.told(second, 11.0)
    assert offsets.due(state, world.rules, 20.0) == offsets.untold(state, world.rules) == {}
