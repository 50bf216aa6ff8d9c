"""Many records at once, a batch for each partition: a future for each record costs more than its bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import aiokafka.errors as kafka
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from transport.partitioning import partition_of
from transport.records import Ack, Outgoing, TopicPartition
from transport.teardown import quiet

__all__ = ["MAX_RECORD_BYTES", "Sent", "send_batches"]

MAX_RECORD_BYTES = 2 * 1024 * 1024
"""The largest record a client of ours sends; the dead-letter topic takes as much."""


class Sent(NamedTuple):
    """A batch on its way, and which of the records it holds."""

    future: asyncio.Future[Any]
    tp: TopicPartition
    held: list[int]

    @property
    def failed(self) -> bool:
        """The broker has refused it, or the client has given it up."""
        return self.future.done() and (self.future.cancelled() or self.future.exception() is not None)

    def acks(self) -> Iterator[tuple[int, Ack]]:
        """Of each record it holds, if it is acknowledged."""
        if not self.future.done() or self.failed:
            return
        written = self.future.result()
        for position, number in enumerate(self.held):
            yield number, Ack(self.tp.topic, self.tp.partition, written.offset + position, written.timestamp)


async def send_batches(producer: Any, outs: Sequence[Outgoing], sent: list[Sent]) -> None:
    """Hand ``outs`` to an aiokafka producer, in their order within a partition; adds to ``sent`` as it goes.

    Raises what the client does: what is in ``sent`` then is on its way all the same. Errors of the futures need not be
    read.
    """
    by_partition: dict[TopicPartition, list[int]] = {}
    for number, out in enumerate(outs):
        by_partition.setdefault(await _place(producer, out), []).append(number)
    for tp, numbers in by_partition.items():
        for batch, held in _batches(producer, outs, numbers):
            future = await producer.send_batch(batch, tp.topic, partition=tp.partition)
            quiet(future)
            sent.append(Sent(future, tp, held))


async def _place(producer: Any, out: Outgoing) -> TopicPartition:
    if out.partition is not None:
        return TopicPartition(out.topic, out.partition)
    return TopicPartition(out.topic, partition_of(out.key or b"", len(await producer.partitions_for(out.topic))))


def _batches(producer: Any, outs: Sequence[Outgoing], numbers: Sequence[int]) -> Iterator[tuple[Any, list[int]]]:
    """Records of one partition as the client's batches, each with the numbers of what it holds."""
    batch, held = producer.create_batch(), list[int]()
    for number in numbers:
        out = outs[number]
        headers = list(out.headers)
        # A batch takes its first record whatever its size.
        if DefaultRecordBatchBuilder.estimate_size_in_bytes(out.key, out.value, headers) > MAX_RECORD_BYTES:
            raise kafka.MessageSizeTooLargeError(f"a record for {out.topic} is larger than {MAX_RECORD_BYTES} bytes")
        while batch.append(timestamp=None, key=out.key, value=out.value, headers=headers) is None:
            yield batch, held
            batch, held = producer.create_batch(), []
        held.append(number)
    yield batch, held
