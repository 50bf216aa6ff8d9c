"""Several instances share the partitions; what one was at when it left, or was shut out, another goes on with."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

from schemas.connection import KafkaSettings
from tests.consumer.webhooks.receiver import Delivery, Receiver
from tests.consumer.webhooks.world import World, tenant
from tests.until import until

TENANTS = ("acme", "bolt", "cord", "dune", "ends")
EACH = 12


async def test_instances_come_and_go_and_every_event_arrives(kafka: KafkaSettings, tmp_path: Path) -> None:
    world = await World.make(kafka, tmp_path, partitions=4)
    seen: Counter[str] = Counter()

    def once_not(delivery: Delivery) -> int:
        seen[delivery.id] += 1
        return 500 if seen[delivery.id] == 1 else 200

    async def publish() -> list[str]:
        return [id_ for name in TENANTS for id_ in await world.publish(name, EACH)]

    with Receiver(once_not) as receiver:
        world.write({name: tenant(world.endpoint("hook", receiver.url())) for name in TENANTS})
        async with world.serving() as first:
            ids = await publish()
            async with world.serving() as second:
                await until(lambda: len(first._member.runners) == len(second._member.runners) == 2)
                ids += await publish()
            ids += await publish()
            await until(lambda: len(first._member.runners) == 4)
            await until(lambda: all(seen[id_] >= 2 for id_ in ids), within_s=40)
            await asyncio.sleep(0.3)
    # Twice each for the failure that was answered first; more only around the two rebalances.
    again = sum(count - 2 for count in seen.values())
    assert set(seen) == set(ids)
    assert again <= 2 * EACH, f"{again} were posted once more"
