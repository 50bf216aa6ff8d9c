"""A producer of transactions, and what of them is to be seen."""

from __future__ import annotations

from schemas.connection import KafkaSettings
from transport.tail import read_partition
from transport.transactions import FencedProducer

__all__ = ["started", "values"]


async def started(kafka: KafkaSettings, name: str = "one") -> FencedProducer:
    """The owner of an id of this name; the one before is fenced."""
    producer = FencedProducer(kafka, transactional_id=f"{kafka.prefix}-{name}")
    await producer.start()
    return producer


async def values(kafka: KafkaSettings, topic: str, partition: int = 0) -> list[bytes | None]:
    """What a reader of committed records sees."""
    return [record.value async for batch in read_partition(kafka, topic, partition) for record in batch]
