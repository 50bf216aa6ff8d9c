"""A broker that can't say which features its cluster has is spoken to by the first protocol for transactions."""

from __future__ import annotations

from pathlib import Path

from tests.stack import make_topic
from tests.transport.protocols import use_first_protocol
from tests.transport.transacting import started, values
from tests.transport.wire import ApiKey, api_versions_up_to, broker_behind_wire
from transport.records import Outgoing


async def test_a_broker_without_features_is_of_the_first_protocol(tmp_path: Path) -> None:
    async with broker_behind_wire(tmp_path) as (kafka, wire):
        topic = await make_topic(kafka)
        await use_first_protocol(kafka)
        wire.replace_response[ApiKey.API_VERSIONS] = api_versions_up_to(2)
        producer = await started(kafka)
        await producer.commit([Outgoing(topic, b"1")], {}, "g")
        await producer.close()
        assert await values(kafka, topic) == [b"1"]
