"""What travels: records read, records to be written, and what the broker said about a write."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

__all__ = ["Ack", "Headers", "Outgoing", "Record", "TopicPartition", "records_of"]

if TYPE_CHECKING:

    class TopicPartition(NamedTuple):
        """One partition of one topic."""

        topic: str
        partition: int

else:
    # The client insists on its own named tuple; sharing it saves a conversion of every key in every call.
    from aiokafka import TopicPartition

Headers = tuple[tuple[str, bytes | None], ...]


class Record(msgspec.Struct, frozen=True, gc=False):
    """A record as it stands in a partition.

    ``timestamp_ms`` is the broker's append time on a LogAppendTime topic. A ``value`` of ``None`` deletes the key in a
    compacted topic. Headers keep their order and their duplicates.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def tp(self) -> TopicPartition:
        return TopicPartition(self.topic, self.partition)


class Outgoing(NamedTuple):
    """A record to be written. Without ``partition``, its key chooses one as Kafka's Java client would."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()
    partition: int | None = None


class Ack(NamedTuple):
    """Where a record was written and when: the broker's append time under LogAppendTime, in ms since the epoch."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int


def records_of(messages: Iterable[Any]) -> list[Record]:
    """The client's records as ours."""
    return [Record(m.topic, m.partition, m.offset, m.timestamp, m.key, m.value, m.headers) for m in messages]
