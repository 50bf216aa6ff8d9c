"""A ledger whose end is hidden behind a transaction that nobody ends: what lies there is not decided again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiokafka
import pytest

from schemas.settings import Settings
from tests.house import House
from transport.partitioning import partition_of


@pytest.fixture
async def house(settings: Settings, tmp_path: Path) -> AsyncIterator[House]:
    house = await House.build(settings, tmp_path)
    yield house
    house.close()


async def left_open(house: House, topic: str, partition: int) -> Any:
    """The producer of another transactional id, whose transaction on this partition is open."""
    producer = aiokafka.AIOKafkaProducer(
        bootstrap_servers=house.settings.kafka.bootstrap_servers,
        transactional_id=f"{house.settings.kafka.prefix}-somebody",
        transaction_timeout_ms=120_000,
    )
    await producer.start()
    await producer.begin_transaction()
    await producer.send_and_wait(topic, key=b"foreign", value=b"{}", partition=partition)
    return producer


async def test_the_partition_is_refused_with_cause_and_remedy_and_served_once_it_is_decided(house: House) -> None:
    home = partition_of(b"acme", house.settings.kafka.partitions)
    request = house.request("acme")
    first = await house.admission().ready()
    hanging = await left_open(house, house.topics.ledger, home)
    # Committed, and in the ledger hidden behind the open transaction.
    await house.publish(request)
    await house.until(lambda found: kinds(found) == ["generation.accepted"])
    first.kill()

    second = house.admission()
    where = f"{house.topics.ledger}[{home}]"
    await second.until(lambda: where in second.get("/health/ready")[1], 40, "it does not say what it waits for")
    said = second.get("/health/ready")[1]
    assert f"a transaction hides the end of {where}" in said
    assert "kafka-transactions.sh" in said
    (line,) = [line for line in second.lines() if line.get("kind") == "Undecided"][:1]
    assert where in line["reason"] and "kafka-transactions.sh" in line["reason"]
    await second.until(lambda: second.metric("easel_admission_doubts_total") >= 2, 30, "it does not try again")
    ready = second.metric("easel_admission_partitions_ready")
    assert ready == house.settings.kafka.partitions - 1, "the other partitions are served"
    assert kinds(await house.results()) == ["generation.accepted"], "decided a second time"

    await hanging.abort_transaction()
    await hanging.stop()
    await second.ready()
    await house.publish(request)
    await house.until(lambda found: kinds(found) == ["generation.accepted", "generation.duplicate"])


def kinds(found: list[dict[str, Any]]) -> list[str]:
    return [one["kind"] for one in found]
