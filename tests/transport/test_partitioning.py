"""The hash is the Java client's, so that every client with its default partitioner agrees."""

from __future__ import annotations

import pytest

from transport.partitioning import partition_of


# The vectors of Apache Kafka's own test of its hash: UtilsTest.testMurmur2.
@pytest.mark.parametrize(
    ("key", "murmur2"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_partition_is_that_of_the_java_client(key: bytes, murmur2: int) -> None:
    for partitions in (1, 2, 12, 997):
        assert partition_of(key, partitions) == (murmur2 & 0x7FFFFFFF) % partitions


def test_a_topic_without_partitions_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        partition_of(b"x", 0)
