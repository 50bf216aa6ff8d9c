"""Writes hostile records as a client without scruples would: names that are no text, and compressed batches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from ops.hostile.bodies import SIGNED, request
from ops.hostile.draws import Draws
from ops.hostile.envelopes import UNSIGNED
from ops.hostile.signed import Forger, Raw
from schemas.connection import KafkaSettings
from schemas.topics import Topics
from transport.kafka import client_options
from transport.partitioning import partition_of

__all__ = ["NUMBER", "Sent", "drawn", "is_refused_by_the_broker", "publish"]

NUMBER = "hostile_n"
"""The first header of each record that has any: its number."""

_BATCH_BYTES = 1024 * 1024
_LARGEST_BYTES = 750_000
"""What is larger the broker refuses, as it does the bomb."""
_FULL_BYTES = 200_000
_AROUND = 4
_BATCH_RECORDS = 100
_CODECS = (0, 0, 1)
"""None, and gzip."""
_ACK_S = 30.0
_MISPLACED = 0.1

Sent = dict[tuple[int, int], tuple[int, Raw]]
"""Partition and offset → number and record, of what the broker has taken."""


class _Name(str):
    """The name of a header, which the client asks for its bytes: any will do."""

    __slots__ = ("raw",)
    raw: bytes

    def encode(self, *_: object) -> bytes:
        return self.raw


def _named(raw: bytes) -> _Name:
    name = _Name("x")
    name.raw = raw
    return name


def drawn(seed: int, forger: Forger) -> Iterator[Raw]:
    """Hostile events without end, the same for the same seed but for ids and times."""
    draws = Draws(seed)
    kinds = {**SIGNED, **UNSIGNED}
    makes, weights = list(kinds), list(kinds.values())
    while True:
        (make,) = draws.chance.choices(makes, weights)
        raw = make(draws, forger)
        if _size(raw) <= _LARGEST_BYTES:
            yield raw


def _size(raw: Raw) -> int:
    """Of the record, or a little more."""
    return len(raw.value or b"") + sum(len(name) + len(value or b"") + _AROUND for name, value in raw.headers)


async def publish(settings: KafkaSettings, forger: Forger, *, seed: int, events: int, rate: float) -> Sent:
    """Send so many at ``rate`` a second, and return them with their places. The broker may refuse none of them."""
    topic, draws = Topics(settings.prefix).requests, Draws(seed + 1)
    home = partition_of(forger.tenant.encode(), settings.partitions)
    options = {**client_options(settings), "acks": "all", "max_request_size": 4 * _BATCH_BYTES}
    sent: Sent = {}
    source, number, began = drawn(seed, forger), 0, time.monotonic()
    async with AIOKafkaProducer(**options) as producer:
        while number < events:
            batch = producer.create_batch()
            batch._builder = _DefaultRecordBatchBuilderPy(2, draws.chance.choice(_CODECS), 0, -1, -1, 0, _BATCH_BYTES)
            held: list[tuple[int, Raw]] = []
            size = 0
            for raw in islice(source, min(_BATCH_RECORDS, events - number)):
                names = [(NUMBER.encode(), str(number).encode()), *raw.headers] if raw.headers else []
                headers: Any = [(_named(name), value) for name, value in names]
                if batch.append(timestamp=None, key=raw.key, value=raw.value, headers=headers) is None:
                    break
                held.append((number, raw))
                number += 1
                size += _size(raw)
                if size > _FULL_BYTES:
                    break
            misplaced = draws.chance.random() < _MISPLACED
            partition = draws.chance.randrange(settings.partitions) if misplaced else home
            async with asyncio.timeout(_ACK_S):
                acked = await (await producer.send_batch(batch, topic, partition=partition))
            sent |= {(partition, acked.offset + place): one for place, one in enumerate(held)}
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
    return sent


async def is_refused_by_the_broker(settings: KafkaSettings, forger: Forger) -> bool:
    """Whether what is larger than the topic takes, small as it is when compressed, never gets in."""
    raw = forger.event(Draws(0), "bomb", request("nothing", prompt="x" * (2 * _BATCH_BYTES)))
    options = {**client_options(settings), "max_request_size": 4 * _BATCH_BYTES}
    async with AIOKafkaProducer(**options, compression_type="gzip") as producer:
        try:
            await producer.send_and_wait(Topics(settings.prefix).requests, raw.value, key=raw.key)
        except MessageSizeTooLargeError:
            return True
    return False
