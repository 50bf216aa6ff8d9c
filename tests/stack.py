"""The real parts that tests run on, each started when the first test asks for it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import SecretStr

from ops.local.stack import Stack
from schemas.connection import KafkaSettings, StoreSettings
from schemas.topics import TopicSpec
from transport.topics import ensure_topics

PARTITIONS = 4


def fresh_name() -> str:
    """A name that no other test uses, fit for a topic prefix and for a bucket."""
    return f"t{uuid.uuid4().hex[:12]}"


def kafka_settings(stack: Stack) -> KafkaSettings:
    """The stack's broker under a prefix of its own; four partitions for everything."""
    return KafkaSettings(
        bootstrap_servers=stack.endpoints.kafka,
        prefix=fresh_name(),
        partitions=PARTITIONS,
        jobs_partitions=PARTITIONS,
    )


def store_settings(stack: Stack) -> StoreSettings:
    """The stack's store with a bucket name of its own; the bucket is not made."""
    endpoints = stack.endpoints
    return StoreSettings(
        endpoint=endpoints.store,
        bucket=fresh_name(),
        access_key=SecretStr(endpoints.store_access_key),
        secret_key=SecretStr(endpoints.store_secret_key),
    )


@dataclass(frozen=True, slots=True)
class OwnBroker:
    """A broker that belongs to one test, which may do to it what it likes."""

    stack: Stack
    settings: KafkaSettings

    def stop(self, *, hard: bool = False) -> None:
        self.stack.stop("kafka", hard=hard)

    def start(self) -> None:
        self.stack.start("kafka")

    async def restart(self, *, hard: bool = False) -> None:
        """Down and up again, while the event loop goes on."""
        await asyncio.to_thread(self.stop, hard=hard)
        await asyncio.to_thread(self.start)


async def make_topic(
    settings: KafkaSettings, *, partitions: int = 1, name: str | None = None, config: Iterable[tuple[str, str]] = ()
) -> str:
    """A topic with the broker's append times, and its name."""
    topic = f"{settings.prefix}.{name or fresh_name()}"
    spec = TopicSpec(topic, partitions, {"message.timestamp.type": "LogAppendTime", **dict(config)})
    report = await ensure_topics(settings, [spec])
    assert report.created == (topic,)
    assert not report.problems
    return topic
