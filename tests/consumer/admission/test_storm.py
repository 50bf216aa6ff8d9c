"""Dead letters wait for each other, and nothing else waits for them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from consumer.admission.batch import Batch, decide_batch
from schemas.settings import Settings
from tests.consumer.admission.world import TOPICS, World, rules, tenant
from tests.house import House
from transport.kafka import Publisher
from transport.records import Outgoing, Record

FORGED = 150


def forged(world: World, number: int) -> Record:
    return replace(world.request(number), headers=())


def decided(world: World, *records: Record, joining: Batch | None = None) -> Batch:
    return decide_batch(world.state, records, world.rules, world.now_ms, world.fleet, joining=joining)


def test_only_dead_letters_can_wait() -> None:
    world = World(rules(tenant(models=["other"])))
    assert decided(world, forged(world, 1), forged(world, 2)).can_wait
    assert not decided(world).can_wait, "nothing was said"
    rejected = decided(world, world.request(3))
    assert [decision.what for decision in rejected.decisions] == ["rejected"]
    assert not rejected.can_wait, "its tenant waits for the answer"


def test_what_is_awaited_takes_them_along() -> None:
    world = World(rules(tenant()))
    waiting = decided(world, forged(world, 1))
    joined = decided(world, forged(world, 2), joining=waiting)
    assert joined is waiting
    assert joined.can_wait
    joined = decided(world, world.request(3), joining=joined)
    assert not joined.can_wait
    topics = [out.topic for out in joined.outgoing(world.state, world.rules)]
    assert topics.count(TOPICS.dead_letters) == 2
    assert topics.count(TOPICS.results) == 1
    # How far was read is beyond all of them, and stands there once.
    (offsets,) = [out for out in joined.outgoing(world.state, world.rules) if out.key == b"__offsets"]
    assert json.loads(offsets.value or b"")["next"]["requests"] == 3


@pytest.fixture
async def house(settings: Settings, tmp_path: Path) -> AsyncIterator[House]:
    house = await House.build(settings, tmp_path)
    yield house
    house.close()


def transactions(text: str) -> float:
    name = "easel_admission_transaction_seconds_count"
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))


async def test_a_storm_takes_few_transactions(house: House) -> None:
    stage = await house.admission().ready()
    good = house.request("acme")
    before = transactions(stage.get("/metrics")[1])
    bad = Outgoing(good.topic, b"{}", good.key, (), good.partition)
    async with Publisher(house.settings.kafka, client_id="storm") as publisher:
        for _ in range(FORGED):
            await publisher.publish(bad)
            await asyncio.sleep(0.01)
    await house.publish(good)
    await house.until(lambda results: [one["kind"] for one in results] == ["generation.accepted"])
    # Committed with the good one, or before it.
    assert len(await house.events(house.topics.dead_letters)) == FORGED
    # At least a tenth of a second lies between two of them, so this many take some 15 to 25 at their pace.
    assert transactions(stage.get("/metrics")[1]) - before < FORGED / 3
