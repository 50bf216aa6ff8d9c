"""Keeps how requests ended in PostgreSQL. Each event has its effect once, wherever and however often this is killed.

What is done because of a record and the position after it are written in one transaction; the position in the database
alone decides what was done. Kafka's group only shares the partitions among the instances: a record that comes again,
also to another instance or from one that was thought dead, lies before the position and is passed over.
"""

from __future__ import annotations

import asyncio
import json
import os

import psycopg
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition

ENDS = {f"easel.generation.{end}.v1" for end in ("succeeded", "failed", "canceled")}
BATCH = 50

DATABASE = os.environ["DATABASE_URL"]
TOPIC = os.environ.get("EASEL_KAFKA_PREFIX", "easel") + ".results"
Database = psycopg.AsyncConnection


async def take(database: Database, partition: TopicPartition, records: list[ConsumerRecord]) -> None:
    """The effects of the records that were not taken yet, and the position after them: all or nothing."""
    place = (partition.topic, partition.partition)
    async with database.transaction():
        await database.execute("INSERT INTO easel_positions VALUES (%s, %s, 0) ON CONFLICT DO NOTHING", place)
        # Whoever else has this partition, or thinks so, waits here, and then sees where we have come to.
        cursor = await database.execute(
            "SELECT next_offset FROM easel_positions WHERE topic = %s AND partition = %s FOR UPDATE", place
        )
        [next_offset] = await cursor.fetchone() or [0]
        new = [record for record in records if record.offset >= next_offset]
        for record in new:
            await apply(database, record)
        if new:
            await database.execute(
                "UPDATE easel_positions SET next_offset = %s WHERE topic = %s AND partition = %s",
                (new[-1].offset + 1, *place),
            )


async def apply(database: Database, record: ConsumerRecord) -> None:
    """What an event means here. It does nothing that the transaction can't take back: no mail, no call over HTTP."""
    headers = {name: value.decode() for name, value in record.headers}
    if headers["ce_type"] not in ENDS:
        return
    data = json.loads(record.value)
    event = {"id": headers["ce_id"], "kind": headers["ce_type"], **data}
    cursor = await database.execute(
        "INSERT INTO easel_ends VALUES (%(id)s, %(tenant)s, %(request_id)s, %(kind)s, %(cost_milliunits)s)"
        " ON CONFLICT (event_id) DO NOTHING",
        event,
    )
    # An event that lies on the topic a second time, at another offset, is known by its id: after a copy of the topic.
    if cursor.rowcount == 0:
        return
    for output in data.get("outputs", []):
        await database.execute(
            "INSERT INTO easel_pictures VALUES (%s, %s, %s, %s)",
            (event["id"], output["index"], output["key"], output["sha256"]),
        )
    await database.execute(
        "INSERT INTO easel_spent AS spent VALUES (%(tenant)s, 1, %(cost_milliunits)s) ON CONFLICT (tenant) DO UPDATE"
        " SET requests = spent.requests + 1, milliunits = spent.milliunits + excluded.milliunits",
        event,
    )


class Seek(ConsumerRebalanceListener):
    """Begins each partition where the database says; without a position there, at the beginning of the topic."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self.consumer = consumer

    async def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:
        pass

    async def on_partitions_assigned(self, assigned: list[TopicPartition]) -> None:
        async with await Database.connect(DATABASE, connect_timeout=10) as database:
            cursor = await database.execute(
                "SELECT partition, next_offset FROM easel_positions WHERE topic = %s", (TOPIC,)
            )
            positions = dict(await cursor.fetchall())
        for partition in assigned:
            if partition.partition in positions:
                self.consumer.seek(partition, positions[partition.partition])


async def main() -> None:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=os.environ.get("EASEL_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092"),
        group_id="downstream",
        # The name of this instance, where it has one that stays: after a crash it has its partitions back at once.
        group_instance_id=os.environ.get("INSTANCE"),
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    consumer.subscribe([TOPIC], listener=Seek(consumer))
    async with await Database.connect(DATABASE, autocommit=True, connect_timeout=10) as database, consumer:
        while True:
            for partition, records in (await consumer.getmany(timeout_ms=1_000, max_records=BATCH)).items():
                await take(database, partition, records)


if __name__ == "__main__":
    asyncio.run(main())
