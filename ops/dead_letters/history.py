"""Which requests were accepted once, as the usage topic tells for longer than anything else remembers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from schemas.connection import KafkaSettings
from schemas.envelope import Envelope
from schemas.errors import EaselError
from schemas.events import UsageHeld
from schemas.topics import Topics
from transport.partitioning import partition_of
from transport.tail import read_partition

__all__ = ["RequestName", "accepted_before"]

RequestName = tuple[str, str]
"""Tenant and request id."""


async def accepted_before(kafka: KafkaSettings, since_ms: Mapping[RequestName, int]) -> set[RequestName]:
    """Those of these requests for which units were held, at the given times or later.

    Raises ``TransportError``.
    """
    topic, found = Topics(kafka.prefix).usage, set[RequestName]()
    by_partition: dict[int, dict[RequestName, int]] = defaultdict(dict)
    for name, first_ms in since_ms.items():
        by_partition[partition_of(name[0].encode(), kafka.partitions)][name] = first_ms
    for partition, wanted in by_partition.items():
        async for records in read_partition(kafka, topic, partition, since_ms=min(wanted.values())):
            for record in records:
                try:
                    envelope = Envelope.read(record.headers, record.value)
                except EaselError:
                    continue
                name = ((record.key or b"").decode(errors="replace"), envelope.subject or "")
                if envelope.type == UsageHeld.TYPE and name in wanted:
                    found.add(name)
    return found
