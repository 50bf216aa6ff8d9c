"""The requests of transactions by their second protocol (KIP-890), which aiokafka has in their first versions only.

There a partition joins the transaction with the first records for it, and each end of a transaction raises the
producer's epoch. Layouts: Kafka's protocol guide, ApiVersions v3, Produce v12, TxnOffsetCommit v5 and EndTxn v5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

from aiokafka.protocol.api import Request, RequestStruct, Response, ResponseHeader_v0
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactBytes,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

from transport.records import TopicPartition

__all__ = ["CommitOffsets", "EndTransaction", "Features", "Produce", "by_topic"]

_TEXT = CompactString("utf-8")
_TAGS = ("tags", TaggedFields)
_FINALIZED_FEATURES = 2
_ALL_REPLICAS = -1
_NO_GENERATION = -1
_NO_LEADER_EPOCH = -1


def _of_partitions(*fields: Any) -> CompactArray:
    """An array of topics, each with an array of partitions that have ``fields``."""
    return CompactArray(("topic", _TEXT), ("partitions", CompactArray(("partition", Int32), *fields, _TAGS)), _TAGS)


def by_topic(values: Mapping[TopicPartition, Any]) -> dict[str, list[tuple[int, Any]]]:
    """What belongs to partitions, under their topics, as requests take it."""
    found: dict[str, list[tuple[int, Any]]] = {}
    for tp, value in values.items():
        found.setdefault(tp.topic, []).append((tp.partition, value))
    return found


class _FeaturesResponse(Response):  # type: ignore[misc]
    API_KEY = 18
    API_VERSION = 3
    SCHEMA = Schema(
        ("error_code", Int16),
        ("api_keys", CompactArray(("key", Int16), ("min", Int16), ("max", Int16), _TAGS)),
        ("throttle_time_ms", Int32),
        _TAGS,
    )
    _FINALIZED = CompactArray(("name", _TEXT), ("max_level", Int16), ("min_level", Int16), _TAGS)

    def level(self, feature: str) -> int:
        """The level at which the cluster has ``feature``; 0 where it has none."""
        finalized = self.tags.get(_FINALIZED_FEATURES)
        found = self._FINALIZED.decode(BytesIO(finalized)) if finalized else ()
        return next((int(level) for name, level, *_ in found if name == feature), 0)


class _FeaturesRequest(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 18
    API_VERSION = 3
    RESPONSE_TYPE = _FeaturesResponse
    SCHEMA = Schema(("client_software_name", _TEXT), ("client_software_version", _TEXT), _TAGS)

    def parse_response_header(self, read_buffer: Any) -> Any:
        # The one response whose header never became flexible: it has to be read before versions are known.
        return ResponseHeader_v0.decode(read_buffer)


class Features(Request[_FeaturesRequest]):  # type: ignore[misc]
    """Asks a broker which features the cluster has, and at which levels."""

    API_KEY = 18

    def build(self, request_struct_class: type[_FeaturesRequest]) -> _FeaturesRequest:
        return request_struct_class("easel", "1", {})


class _ProduceResponse(Response):  # type: ignore[misc]
    API_KEY = 0
    API_VERSION = 12
    SCHEMA = Schema(
        (
            "topics",
            _of_partitions(
                ("error_code", Int16),
                ("offset", Int64),
                ("timestamp", Int64),
                ("log_start_offset", Int64),
                ("record_errors", CompactArray(("index", Int32), ("message", _TEXT), _TAGS)),
                ("error_message", _TEXT),
            ),
        ),
        ("throttle_time_ms", Int32),
        _TAGS,
    )


class _ProduceRequest(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 0
    API_VERSION = 12
    RESPONSE_TYPE = _ProduceResponse
    SCHEMA = Schema(
        ("transactional_id", _TEXT),
        ("required_acks", Int16),
        ("timeout", Int32),
        ("topics", _of_partitions(("records", CompactBytes))),
        _TAGS,
    )


class Produce(Request[_ProduceRequest]):  # type: ignore[misc]
    """Writes a batch of records to each partition; one that is new to the transaction joins it."""

    API_KEY = 0

    def __init__(self, transactional_id: str, batches: Mapping[TopicPartition, bytes], timeout_ms: int) -> None:
        self._transactional_id = transactional_id
        self._batches = batches
        self._timeout_ms = timeout_ms

    def build(self, request_struct_class: type[_ProduceRequest]) -> _ProduceRequest:
        topics: Sequence[Any] = [
            (topic, [(partition, records, {}) for partition, records in found], {})
            for topic, found in by_topic(self._batches).items()
        ]
        return request_struct_class(self._transactional_id, _ALL_REPLICAS, self._timeout_ms, topics, {})


class _CommitOffsetsResponse(Response):  # type: ignore[misc]
    API_KEY = 28
    API_VERSION = 5
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("errors", _of_partitions(("error_code", Int16))),
        _TAGS,
    )


class _CommitOffsetsRequest(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 28
    API_VERSION = 5
    RESPONSE_TYPE = _CommitOffsetsResponse
    SCHEMA = Schema(
        ("transactional_id", _TEXT),
        ("group_id", _TEXT),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("generation_id", Int32),
        ("member_id", _TEXT),
        ("group_instance_id", _TEXT),
        ("topics", _of_partitions(("offset", Int64), ("leader_epoch", Int32), ("metadata", _TEXT))),
        _TAGS,
    )


class CommitOffsets(Request[_CommitOffsetsRequest]):  # type: ignore[misc]
    """Sets a group's next offsets with the transaction, as nobody's member: the transactional id fences."""

    API_KEY = 28

    def __init__(
        self, transactional_id: str, group: str, identity: tuple[int, int], offsets: Mapping[TopicPartition, int]
    ) -> None:
        self._head = (transactional_id, group, *identity, _NO_GENERATION, "", None)
        self._offsets = offsets

    def build(self, request_struct_class: type[_CommitOffsetsRequest]) -> _CommitOffsetsRequest:
        topics: Sequence[Any] = [
            (topic, [(partition, offset, _NO_LEADER_EPOCH, "", {}) for partition, offset in found], {})
            for topic, found in by_topic(self._offsets).items()
        ]
        return request_struct_class(*self._head, topics, {})


class _EndTransactionResponse(Response):  # type: ignore[misc]
    API_KEY = 26
    API_VERSION = 5
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        _TAGS,
    )


class _EndTransactionRequest(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 26
    API_VERSION = 5
    RESPONSE_TYPE = _EndTransactionResponse
    SCHEMA = Schema(
        ("transactional_id", _TEXT),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("committed", Boolean),
        _TAGS,
    )


class EndTransaction(Request[_EndTransactionRequest]):  # type: ignore[misc]
    """Commits. The answer has the producer's next epoch, with which whatever is still on its way is refused."""

    API_KEY = 26

    def __init__(self, transactional_id: str, identity: tuple[int, int]) -> None:
        self._content: Sequence[Any] = (transactional_id, *identity, True, {})

    def build(self, request_struct_class: type[_EndTransactionRequest]) -> _EndTransactionRequest:
        return request_struct_class(*self._content)
