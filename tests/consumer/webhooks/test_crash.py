"""The stage dies at each of its steps, and loses nothing: what it owes is in its topic."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from schemas.connection import KafkaSettings
from tests.consumer.webhooks.receiver import Receiver
from tests.consumer.webhooks.world import World, tenant
from tests.stage import Stage
from tests.until import until

COUNT = 60


def stage_of(world: World, folder: Path, **more: str) -> Stage:
    kafka, webhooks = world.settings.kafka, world.settings.webhooks
    environment = {
        "EASEL_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "EASEL_KAFKA_PREFIX": kafka.prefix,
        "EASEL_KAFKA_PARTITIONS": str(kafka.partitions),
        "EASEL_TENANTS": str(world.settings.tenants),
        "EASEL_OUTBOUND_PORTS": "any",
        "EASEL_OUTBOUND_ALLOW": "127.0.0.0/8",
        "EASEL_OUTBOUND_PLAIN_HTTP": "true",
        "EASEL_WEBHOOKS_HEALTH_PORT": str(webhooks.health_port),
        "EASEL_WEBHOOKS_SESSION_TIMEOUT_S": "3",
        "EASEL_WEBHOOKS_INSTANCE_ID": "webhooks-0",
        **more,
    }
    return Stage("webhooks", folder / "webhooks.log", webhooks.health_port, environment)


@pytest.mark.system
async def test_sigkill_in_the_middle_loses_none(kafka: KafkaSettings, tmp_path: Path) -> None:
    world = await World.make(kafka, tmp_path)
    stage = stage_of(world, tmp_path)
    with Receiver() as receiver:

        def deadly(_: object) -> int:
            if len(receiver.got) == COUNT // 3:
                os.kill(stage.pid, signal.SIGKILL)
            return 200

        receiver.answering = deadly
        world.write({"acme": tenant(world.endpoint("cms", receiver.url()))})
        try:
            ids = await world.publish("acme", COUNT)
            stage.start()
            await stage.ended()
            assert len(set(receiver.ids())) < COUNT
            receiver.answering = lambda _: 200
            await stage.start().ready()
            await until(lambda: set(receiver.ids()) == set(ids))
            # What was not written down as delivered was posted again, under its id.
            assert len(receiver.got) < 2 * COUNT
        finally:
            stage.kill()


@pytest.mark.system
@pytest.mark.parametrize(
    "point",
    ["webhooks.before_commit:2", "webhooks.after_post:1"],
)
async def test_a_crash_at_each_step_loses_none(kafka: KafkaSettings, tmp_path: Path, point: str) -> None:
    world = await World.make(kafka, tmp_path)
    with Receiver() as receiver:
        world.write({"acme": tenant(world.endpoint("cms", receiver.url()))})
        stage = stage_of(world, tmp_path, EASEL_FAULT=point)
        calm = stage_of(world, tmp_path)
        try:
            ids = await world.publish("acme", 5)
            await stage.start().ended()
            await calm.start().ready()
            await until(lambda: set(receiver.ids()) == set(ids))
        finally:
            stage.kill()
            calm.kill()
