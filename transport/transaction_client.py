"""One transactional id on the wire: who owns it, what its open transaction has written, and how that ends.

Where the cluster has Kafka's second protocol (``transaction.version`` 2, the default since Kafka 4.0), a partition
joins with its first records, and every commit raises the epoch: a copy of a request that comes too late is refused, so
all may be repeated. By the first one, partitions are added beforehand, and a commit is never sent twice: the first copy
might still be on its way and end the next transaction.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import aiokafka.errors as kafka
from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import (
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    EndTxnRequest,
    InitProducerIdRequest,
    TxnOffsetCommitRequest,
)

from schemas.connection import KafkaSettings
from transport.batches import batches_of, placed
from transport.kafka import MAX_BATCH_BYTES, client_options
from transport.records import Ack, Outgoing, TopicPartition
from transport.teardown import end_client
from transport.transaction_wire import CommitOffsets, EndTransaction, Features, Produce, by_topic

__all__ = ["TransactionClient"]

log = logging.getLogger(__name__)

_SECOND_PROTOCOL = 2
# A hidden record behind an abandoned transaction waits this long at most; a takeover ends it at once.
_TRANSACTION_TIMEOUT_MS = 6_000
_PAUSE_S = 0.01
# A new transaction often meets the end of the last, which takes some milliseconds.
_PAUSE_BEHIND_THE_LAST_S = 0.002
# Records that meet it are held back by the broker for 20 ms; who only asks to join is told so at once.
_AN_END_TAKES_S = 0.01
_PAUSE_WITHOUT_CONNECTION_S = 0.1
# A coordinator that starts, loads or moves is mostly there by then.
_SAID_AFTER_S = 1.0
_ALL_REPLICAS = -1
_SEQUENCES = 2**31

_NO_ERROR = 0
_TIMED_OUT = 7
_LOADING, _NO_COORDINATOR, _NOT_COORDINATOR = 14, 15, 16
_DUPLICATE = 46
_OLD_EPOCH, _FENCED = 47, 90
_CONCURRENT = 51
_NOT_ATTEMPTED = 55
_NOT_YET = {_LOADING, _NO_COORDINATOR, _NOT_COORDINATOR, _CONCURRENT}
_DISCONNECTED = (kafka.KafkaConnectionError, kafka.NodeNotReadyError, kafka.RequestTimedOutError)


class _Batch(NamedTuple):
    records: bytes
    held: list[int]


class TransactionClient:
    """Not shared: one step at a time, in the order write, offsets, commit. After an error only `close` is left."""

    def __init__(self, settings: KafkaSettings, transactional_id: str) -> None:
        self._id = transactional_id
        self._timeout_ms = settings.request_timeout_ms
        self._client = AIOKafkaClient(
            **client_options(settings), client_id=transactional_id, retry_backoff_ms=round(_PAUSE_S * 1_000)
        )
        self._coordinators: dict[tuple[CoordinationType, str], int] = {}
        self._second = False
        self._producer = (-1, -1)
        self._sequences: defaultdict[TopicPartition, int] = defaultdict(int)
        self._joined: set[TopicPartition] = set()
        self._ended_at = float("-inf")

    async def start(self) -> None:
        """Takes the transactional id over: when it returns, what older owners left open is aborted and gone."""
        await self._client.bootstrap()
        self._second = await self._level("transaction.version") >= _SECOND_PROTOCOL
        request = InitProducerIdRequest(self._id, _TRANSACTION_TIMEOUT_MS)
        answer = await self._coordinate(request, lambda answer: [answer.error_code])
        self._producer = (answer.producer_id, answer.producer_epoch)

    async def write(self, messages: Sequence[Outgoing]) -> list[Ack]:
        """Has all messages acknowledged by all replicas; an ack without an offset (-1) is one that was given before."""
        waiting = await self._batched(messages)
        if new := self._to_be_joined(waiting):
            await self._join(new)
        acks: list[Ack | None] = [None] * len(messages)
        while waiting:
            for tp, offset, timestamp_ms in await self._produce({tp: batches[0] for tp, batches in waiting.items()}):
                for position, number in enumerate(waiting[tp].popleft().held):
                    at = offset + position if offset >= 0 else offset
                    acks[number] = Ack(tp.topic, tp.partition, at, timestamp_ms)
                if not waiting[tp]:
                    del waiting[tp]
        return [ack for ack in acks if ack is not None]

    async def add_offsets(self, offsets: Mapping[TopicPartition, int], group: str) -> None:
        """Has the group's next offsets become true with the transaction."""
        pid, epoch = self._producer
        request: Any = CommitOffsets(self._id, group, self._producer, offsets)
        if not self._second:
            await self._coordinate(
                AddOffsetsToTxnRequest(self._id, pid, epoch, group), lambda answer: [answer.error_code]
            )
            next_ones = {tp: (offset, "") for tp, offset in offsets.items()}
            topics = [
                (topic, [(number, *one) for number, one in found]) for topic, found in by_topic(next_ones).items()
            ]
            request = TxnOffsetCommitRequest(self._id, group, pid, epoch, topics)
        await self._coordinate(request, _codes_of_partitions, CoordinationType.GROUP, group)

    async def commit(self) -> None:
        """Makes visible what was written. Raises `KafkaConnectionError` where it can't be known whether it did."""
        if self._second:
            answer = await self._coordinate(
                EndTransaction(self._id, self._producer), lambda answer: [answer.error_code]
            )
            self._producer = (answer.producer_id, answer.producer_epoch)
            self._sequences.clear()
        else:
            request = EndTxnRequest(self._id, *self._producer, True)
            await self._coordinate(request, lambda answer: [answer.error_code], once=True)
        self._joined.clear()
        self._ended_at = asyncio.get_running_loop().time()

    async def close(self) -> None:
        """Closes in bounded time, with or without a broker. An open transaction is left for the next owner to abort."""
        await end_client(self._client)

    async def _level(self, feature: str) -> int:
        try:
            answer = await self._client.send(self._client.get_random_node(), Features())
        except NotImplementedError:
            # A broker from before features.
            return 0
        return int(answer.level(feature))

    async def _batched(self, messages: Sequence[Outgoing]) -> dict[TopicPartition, deque[_Batch]]:
        found: dict[TopicPartition, deque[_Batch]] = {}
        for tp, numbers in (await placed(messages, self._client._wait_on_metadata)).items():
            found[tp] = deque()
            for builder, held in batches_of(_builder, messages, numbers):
                builder._set_producer_state(*self._producer, self._sequences[tp])
                self._sequences[tp] = (self._sequences[tp] + len(held)) % _SEQUENCES
                found[tp].append(_Batch(bytes(builder._build()), held))
        return found

    def _to_be_joined(self, tps: Iterable[TopicPartition]) -> set[TopicPartition]:
        """Which partitions have to be added before records are sent for them."""
        if self._second and asyncio.get_running_loop().time() > self._ended_at + _AN_END_TAKES_S:
            return set()
        return set(tps) - self._joined

    async def _join(self, tps: Iterable[TopicPartition]) -> None:
        topics = [(topic, [number for number, _ in found]) for topic, found in by_topic(dict.fromkeys(tps)).items()]
        await self._coordinate(AddPartitionsToTxnRequest(self._id, *self._producer, topics), _codes_of_partitions)
        self._joined.update(tps)

    async def _produce(self, batches: Mapping[TopicPartition, _Batch]) -> list[tuple[TopicPartition, int, int]]:
        """Sends each batch once; returns those that were written, with offset and time. The others may be repeated."""
        by_leader: dict[int, dict[TopicPartition, bytes]] = {}
        for tp, batch in batches.items():
            by_leader.setdefault(await self._leader(tp), {})[tp] = batch.records
        written: list[tuple[TopicPartition, int, int]] = []
        pause_s = 0.0
        for answer in await _all([self._produce_to(node, records) for node, records in by_leader.items()]):
            for tp, code, offset, timestamp_ms in answer:
                if code in (_NO_ERROR, _DUPLICATE):
                    written.append((tp, offset, timestamp_ms))
                    continue
                error = kafka.for_code(code)
                if code == _CONCURRENT:
                    pause_s = max(pause_s, _PAUSE_BEHIND_THE_LAST_S)
                elif error.retriable:
                    log.warning("%s: %s/%s is written again: %s", self._id, tp.topic, tp.partition, error.__name__)
                    pause_s = _PAUSE_WITHOUT_CONNECTION_S if code == _TIMED_OUT else max(pause_s, _PAUSE_S)
                    if error.invalid_metadata:
                        await self._client.force_metadata_update()
                else:
                    raise _error(code, f"{tp.topic}/{tp.partition}")
        if pause_s:
            await asyncio.sleep(pause_s)
        return written

    async def _produce_to(
        self, node: int, records: Mapping[TopicPartition, bytes]
    ) -> list[tuple[TopicPartition, int, int, int]]:
        request: Any = Produce(self._id, records, self._timeout_ms)
        if not self._second:
            request = ProduceRequest(self._id, _ALL_REPLICAS, self._timeout_ms, list(by_topic(records).items()))
        try:
            answer = await self._client.send(node, request)
        except _DISCONNECTED:
            return [(tp, _TIMED_OUT, -1, -1) for tp in records]
        return [
            (TopicPartition(topic, number), code, offset, timestamp_ms)
            for topic, partitions, *_ in answer.topics
            for number, code, offset, timestamp_ms, *_ in partitions
        ]

    async def _leader(self, tp: TopicPartition) -> int:
        while True:
            leader = self._client.cluster.leader_for_partition(tp)
            if leader is not None and leader >= 0:
                return int(leader)
            known = await self._client._wait_on_metadata(tp.topic)
            if tp.partition not in known:
                raise AssertionError(f"Unrecognized partition: {tp.partition} of {tp.topic}")
            await self._client.force_metadata_update()
            await asyncio.sleep(_PAUSE_S)

    async def _coordinate(
        self,
        request: Any,
        codes_of: Callable[[Any], Iterable[int]],
        kind: CoordinationType = CoordinationType.TRANSACTION,
        key: str = "",
        *,
        once: bool = False,
    ) -> Any:
        """The coordinator's answer, once it has done what was asked; ``once``: not after a connection was lost."""
        whose = (kind, key or self._id)
        began = time.monotonic()
        while True:
            try:
                node = await self._coordinator(*whose)
                answer = await self._client.send(node, request, group=ConnectionGroup.COORDINATION)
            except _DISCONNECTED as err:
                if once and not isinstance(err, kafka.NodeNotReadyError):
                    raise
                self._say_again(request, repr(err), began)
                self._coordinators.pop(whose, None)
                await asyncio.sleep(_PAUSE_WITHOUT_CONNECTION_S)
                continue
            codes = set(codes_of(answer)) - {_NO_ERROR, _NOT_ATTEMPTED}
            if not codes:
                return answer
            if wrong := [code for code in codes if code not in _NOT_YET and not kafka.for_code(code).retriable]:
                raise _error(wrong[0], whose[1])
            if codes != {_CONCURRENT}:
                self._say_again(request, ", ".join(kafka.for_code(code).__name__ for code in codes), began)
            if codes & {_NO_COORDINATOR, _NOT_COORDINATOR}:
                self._coordinators.pop(whose, None)
            await asyncio.sleep(_PAUSE_BEHIND_THE_LAST_S if codes == {_CONCURRENT} else _PAUSE_S)

    def _say_again(self, request: Any, reason: str, began: float) -> None:
        if time.monotonic() - began > _SAID_AFTER_S:
            log.warning("%s: %s is asked again: %s", self._id, type(request).__name__, reason)

    async def _coordinator(self, kind: CoordinationType, key: str) -> int:
        while (kind, key) not in self._coordinators:
            try:
                self._coordinators[kind, key] = await self._client.coordinator_lookup(kind, key)
            except kafka.BrokerResponseError as err:
                if not err.retriable:
                    raise
                await asyncio.sleep(_PAUSE_S)
        return self._coordinators[kind, key]


def _builder() -> BatchBuilder:
    return BatchBuilder(MAX_BATCH_BYTES, 0, is_transactional=1)


def _codes_of_partitions(answer: Any) -> list[int]:
    return [code for _, partitions, *_ in answer.errors for _, code, *_ in partitions]


def _error(code: int, where: str) -> kafka.KafkaError:
    error: kafka.KafkaError = kafka.ProducerFenced() if code in (_OLD_EPOCH, _FENCED) else kafka.for_code(code)(where)
    return error


async def _all(sends: Sequence[Awaitable[Any]]) -> Sequence[Any]:
    # Mostly there is one leader, and a task for it would cost more than the request.
    return [await sends[0]] if len(sends) == 1 else await asyncio.gather(*sends)
