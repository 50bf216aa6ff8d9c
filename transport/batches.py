"""Many records at once, a batch for each partition: a future for each record costs more than its bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

import aiokafka.errors as kafka
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from transport.partitioning import partition_of
from transport.records import Ack, Outgoing, TopicPartition
from transport.teardown import quiet

__all__ = ["MAX_RECORD_BYTES", "Sent", "batches_of", "placed", "send_batches"]

MAX_RECORD_BYTES = 2 * 1024 * 1024
"""The largest record a client of ours sends; the dead-letter topic takes as much."""

PartitionsFor = Callable[[str], Awaitable[Collection[int]]]


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
    for tp, numbers in (await placed(outs, producer.partitions_for)).items():
        for batch, held in batches_of(producer.create_batch, outs, numbers):
            future = await producer.send_batch(batch, tp.topic, partition=tp.partition)
            quiet(future)
            sent.append(Sent(future, tp, held))


async def placed(outs: Sequence[Outgoing], partitions_for: PartitionsFor) -> dict[TopicPartition, list[int]]:
    """Which of ``outs``, by their numbers, go to which partition."""
    found: dict[TopicPartition, list[int]] = {}
    for number, out in enumerate(outs):
        partition = out.partition
        if partition is None:
            partition = partition_of(out.key or b"", len(await partitions_for(out.topic)))
        found.setdefault(TopicPartition(out.topic, partition), []).append(number)
    return found


def batches_of(
    create: Callable[[], Any], outs: Sequence[Outgoing], numbers: Sequence[int]
) -> Iterator[tuple[Any, list[int]]]:
    """Records of one partition as the client's batches, each with the numbers of what it holds."""
    batch, held = create(), list[int]()
    for number in numbers:
        out = outs[number]
        headers = list(out.headers)
        # A batch takes its first record whatever its size.
        if DefaultRecordBatchBuilder.estimate_size_in_bytes(out.key, out.value, headers) > MAX_RECORD_BYTES:
            raise kafka.MessageSizeTooLargeError(f"a record for {out.topic} is larger than {MAX_RECORD_BYTES} bytes")
        while batch.append(timestamp=None, key=out.key, value=out.value, headers=headers) is None:
            yield batch, held
            batch, held = create(), []
        held.append(number)
    yield batch, held
