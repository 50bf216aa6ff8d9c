"""Which partition a key belongs to."""

from __future__ import annotations

from functools import lru_cache

from aiokafka.partitioner import murmur2

__all__ = ["partition_of"]


@lru_cache(maxsize=4_096)
def partition_of(key: bytes, partitions: int) -> int:
    """The partition that Kafka's Java client chooses for ``key``: its positive murmur2 hash modulo the count.

    Source: ``BuiltInPartitioner.partitionForKey`` and ``Utils.toPositive`` in Apache Kafka. librdkafka and Sarama
    default to other hashes.
    """
    if partitions < 1:
        raise ValueError(f"a topic has at least one partition, not {partitions}")
    return int(murmur2(key) & 0x7FFFFFFF) % partitions
