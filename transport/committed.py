"""A group's committed offsets, read so that an error is never taken for "none".

aiokafka ignores the error that stands at the top of an OffsetFetch response. For seconds after a broker's restart (the
coordinator has moved, or still loads its log) its own calls answer ``None``.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import aiokafka.errors as kafka
from aiokafka.protocol.commit import OffsetFetchRequest

from transport.errors import OffsetsUnknown, Unavailable, limited
from transport.records import TopicPartition

__all__ = ["fetch_committed"]

_BACKOFF_S = 0.05
_NONE = -1
_MOVED = (kafka.GroupCoordinatorNotAvailableError, kafka.NotCoordinatorForGroupError)


async def fetch_committed(
    coordinator: Any, partitions: Sequence[TopicPartition], *, timeout_s: float, where: str
) -> dict[TopicPartition, int | None]:
    """The committed offset of each partition, ``None`` only where the coordinator says that there is none.

    Raises:
        OffsetsUnknown: not readable within ``timeout_s`` seconds; the last error is named.
        Misconfigured: the group or a topic may not be read.
    """
    last: Exception | None = None
    try:
        async with limited("reading committed offsets", where, timeout_s):
            while True:
                try:
                    await coordinator.ensure_coordinator_known()
                    return await _fetch(coordinator, partitions)
                except kafka.KafkaError as err:
                    if not err.retriable:
                        raise
                    last = err
                    if isinstance(err, _MOVED):
                        coordinator.coordinator_dead()
                    await asyncio.sleep(_BACKOFF_S)
    except Unavailable as err:
        raise OffsetsUnknown(
            f"committed offsets could not be read: {last or err.what}", err.remedy, where=where, partitions=partitions
        ) from err


async def _fetch(coordinator: Any, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int | None]:
    if not partitions:
        return {}
    by_topic: defaultdict[str, list[int]] = defaultdict(list)
    for tp in partitions:
        by_topic[tp.topic].append(tp.partition)
    response = await coordinator._send_req(OffsetFetchRequest(coordinator.group_id, list(by_topic.items())))
    _check(response.error_code)
    found: dict[TopicPartition, int | None] = {}
    for topic, entries in response.topics:
        for partition, offset, _metadata, error_code in entries:
            _check(error_code)
            found[TopicPartition(topic, partition)] = None if offset == _NONE else offset
    missing = set(partitions) - found.keys()
    if missing:
        raise OffsetsUnknown(f"the coordinator left out {sorted(missing)}", partitions=missing)
    return found


def _check(error_code: int) -> None:
    error = kafka.for_code(error_code)
    if error is not kafka.NoError:
        raise error()
