"""The transactional producer of one input partition: a new one shuts out every older one of the same id.

aiokafka speaks version 0 of the transaction requests, so offsets carry no member and cannot fence by themselves. What
fences is the transactional id: whoever started last owns it, and everything that an older owner left open is aborted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import aiokafka
from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.producer import sender

from schemas.connection import KafkaSettings
from transport.batches import MAX_RECORD_BYTES, Sent, send_batches
from transport.errors import Doubt, TransportError, limited
from transport.kafka import MAX_BATCH_BYTES, client_options
from transport.records import Ack, Outgoing, TopicPartition
from transport.teardown import end_producer

__all__ = ["FencedProducer"]

_START_S = 10.0
_CLOSE_S = 2.0
# A hidden record behind an abandoned transaction waits this long at most; a takeover ends it at once.
_TRANSACTION_TIMEOUT_MS = 6_000
# The client's default of 100 ms makes the tail of the latency: a new transaction often meets the end of the last.
_RETRY_BACKOFF_MS = 10
# For the commonest of these meetings the client has a constant of its own, of 20 ms: four times what a commit takes.
sender.BACKOFF_OVERRIDE = 0.002
# A request that the client repeats after its own timeout may hit the NEXT transaction. We give up before it does.
_SHARE_OF_REQUEST_TIMEOUT = 0.8

At = Callable[[str], None]


class FencedProducer:
    """Commits records and offsets in one transaction, as the only owner of ``transactional_id``.

    After any error the outcome of the last commit is unknown and the object is dead: close it, start another one, and
    read from the topics what is true.
    """

    def __init__(self, settings: KafkaSettings, *, transactional_id: str) -> None:
        self.transactional_id = transactional_id
        self._settings = settings
        self._where = f"{transactional_id} at {settings.bootstrap_servers}"
        self._limit_s = settings.request_timeout_ms / 1_000 * _SHARE_OF_REQUEST_TIMEOUT
        self._producer: Any = None
        self._usable = False

    async def start(self, *, timeout_s: float = _START_S) -> None:
        """Takes the transactional id over: older owners are fenced and their open transaction is aborted and gone.

        Raises:
            Unavailable: no answer within ``timeout_s`` seconds.
            Misconfigured: the user may not use the transactional id.
            Doubt: anything else.
        """
        self._producer = aiokafka.AIOKafkaProducer(
            **client_options(self._settings),
            client_id=self.transactional_id,
            transactional_id=self.transactional_id,
            transaction_timeout_ms=_TRANSACTION_TIMEOUT_MS,
            retry_backoff_ms=_RETRY_BACKOFF_MS,
            max_batch_size=MAX_BATCH_BYTES,
            max_request_size=MAX_RECORD_BYTES,
        )
        try:
            async with limited("taking over the transactional id", self._where, timeout_s):
                await self._producer.start()
        except BaseException:
            await self.close()
            raise
        self._usable = True

    async def commit(
        self,
        messages: Sequence[Outgoing],
        offsets: Mapping[TopicPartition, int],
        group: str,
        *,
        at: At | None = None,
    ) -> list[Ack]:
        """Writes all ``messages`` and the group's next ``offsets``, or nothing of it. Acks come in the messages' order.

        Each of the three steps (write, offsets, commit) may take 0.8 of ``request_timeout_ms``. ``at`` is called with
        ``before_send``, ``before_offsets``, ``before_commit`` and ``after_commit``.

        Raises:
            Fenced: a newer owner has taken over. Nothing more can come of this object.
            Doubt: the outcome is unknown.
        """
        if not self._usable:
            raise Doubt("this producer has failed or was closed", "start another one", where=self._where)
        if not messages and not offsets:
            return []
        self._usable = False
        reached = at or _nowhere
        try:
            acks = await self._commit(messages, offsets, group, reached)
        except Doubt:
            raise
        except TransportError as err:
            raise Doubt(err.what, err.remedy, where=self._where) from err
        self._usable = True
        reached("after_commit")
        return acks

    async def close(self) -> None:
        """Closes in at most 4 s, with or without a broker. What is open is left for the next owner to abort."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await end_producer(producer, grace_s=_CLOSE_S if self._usable else 0.0)
        self._usable = False

    async def _commit(
        self, messages: Sequence[Outgoing], offsets: Mapping[TopicPartition, int], group: str, reached: At
    ) -> list[Ack]:
        producer = self._producer
        async with self._step("beginning a transaction"):
            await producer.begin_transaction()
        reached("before_send")
        async with self._step(f"writing to {', '.join(sorted({out.topic for out in messages}))}"):
            # Before the offsets: a failed record would otherwise be noticed only by the commit, which ignores it. And
            # produce requests beside the offsets wait for the coordinator's lock, 100 ms at a time.
            written = await self._write(messages)
        if any(ack.offset < 0 for ack in written):
            raise Doubt("the broker knows a record but no longer its offset", where=self._where)
        reached("before_offsets")
        if offsets:
            async with self._step(f"adding the offsets of {group}"):
                await producer.send_offsets_to_transaction(dict(offsets), group)
        reached("before_commit")
        connection = self._coordinator_connection()
        async with self._step("committing"):
            await producer.commit_transaction()
        if self._coordinator_connection() is not connection:
            # The commit went out twice. The first copy may still be on its way and would end the next transaction.
            raise Doubt("the connection changed during the commit", "read what was committed", where=self._where)
        return written

    async def _write(self, messages: Sequence[Outgoing]) -> list[Ack]:
        """Have all messages acknowledged. Raises what the client does."""
        sent: list[Sent] = []
        await send_batches(self._producer, messages, sent)
        for batch in sent:
            await batch.future
        acks = dict(ack for batch in sent for ack in batch.acks())
        return [acks[number] for number in range(len(messages))]

    def _coordinator_connection(self) -> object:
        node = self._producer._sender._coordinators.get(CoordinationType.TRANSACTION)
        return self._producer.client._conns.get((node, ConnectionGroup.COORDINATION))

    def _step(self, what: str) -> Any:
        return limited(what, self._where, self._limit_s)


def _nowhere(_: str) -> None:
    return
