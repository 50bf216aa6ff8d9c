"""Clusters that have not turned on Kafka's second protocol for transactions."""

from __future__ import annotations

from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int8, Int16, Int32, Schema, TaggedFields

from schemas.connection import KafkaSettings
from transport.kafka import client_options

__all__ = ["use_first_protocol"]

_SAFE_DOWNGRADE = 2


class _UpdateResponse(Response):  # type: ignore[misc]
    API_KEY = 57
    API_VERSION = 2
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("error_message", CompactString("utf-8")),
        ("tags", TaggedFields),
    )


class _UpdateRequest(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 57
    API_VERSION = 2
    RESPONSE_TYPE = _UpdateResponse
    SCHEMA = Schema(
        ("timeout_ms", Int32),
        (
            "updates",
            CompactArray(("feature", CompactString("utf-8")), ("level", Int16), ("kind", Int8), ("tags", TaggedFields)),
        ),
        ("validate_only", Boolean),
        ("tags", TaggedFields),
    )


class _Update(Request[_UpdateRequest]):  # type: ignore[misc]
    API_KEY = 57

    def build(self, request_struct_class: type[_UpdateRequest]) -> _UpdateRequest:
        return request_struct_class(10_000, [("transaction.version", 1, _SAFE_DOWNGRADE, {})], False, {})


async def use_first_protocol(kafka: KafkaSettings) -> None:
    """Turn the second one off, as in clusters that come from before Kafka 4."""
    client = AIOKafkaClient(**client_options(kafka), client_id="test")
    await client.bootstrap()
    try:
        answer = await client.send(client.get_random_node(), _Update())
        assert answer.error_code == 0, answer.error_message
    finally:
        await client.close()
