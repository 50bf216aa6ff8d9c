"""Where to go on is what the ledger says; where that is not in the topic any more, somebody is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete

from consumer.admission.ledger import offsets_record
from consumer.admission.state import PartitionState
from consumer.process import EXIT_CONFIGURATION
from schemas.settings import Settings
from tests.house import House
from transport.partitioning import partition_of
from transport.transactions import FencedProducer


@pytest.fixture
async def house(settings: Settings, tmp_path: Path) -> AsyncIterator[House]:
    house = await House.build(settings, tmp_path)
    yield house
    house.close()


async def remember(house: House, **next_offsets: int) -> int:
    """Let the ledger of acme's partition say that its inputs were read so far."""
    home = partition_of(b"acme", house.settings.kafka.partitions)
    state = PartitionState()
    state.next_offsets = {"requests": 0, "rerouted": 0, "outcomes": 0, **next_offsets}
    producer = FencedProducer(house.settings.kafka, transactional_id=f"{house.settings.kafka.prefix}-admission-{home}")
    await producer.start()
    await producer.commit([offsets_record(house.topics.ledger, home, state)], {}, "g")
    await producer.close()
    return home


async def test_offsets_above_the_range_are_refused_with_the_remedy(house: House) -> None:
    """The topic was made anew: what it holds now was never read, whatever the numbers say."""
    await house.publish(house.request("acme"))
    await remember(house, requests=1_000)
    stage = house.admission()
    assert await stage.ended() == EXIT_CONFIGURATION
    log = stage.log.read_text()
    assert "it was made anew" in log
    assert "docs/operations.md" in log
    assert await house.results() == []


async def test_offsets_below_the_range_begin_at_the_earliest_and_are_counted(house: House) -> None:
    home = partition_of(b"acme", house.settings.kafka.partitions)
    await house.publish(house.request("acme"), house.request("acme"), house.request("acme"))
    admin = AIOKafkaAdminClient(bootstrap_servers=house.settings.kafka.bootstrap_servers)
    await admin.start()
    await admin.delete_records({KafkaPartition(house.topics.requests, home): RecordsToDelete(2)})
    await admin.close()
    stage = await house.admission().ready()
    results = await house.until(lambda found: Counter(one["kind"] for one in found)["generation.accepted"] == 1)
    assert len(results) == 1
    assert stage.metric("easel_offsets_below_range_total") == 1
    assert "deleted before it was read" in stage.log.read_text()
