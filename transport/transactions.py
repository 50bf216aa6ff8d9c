"""The transactional producer of one input partition: a new one shuts out every older one of the same id.

What fences is the transactional id, not the group: whoever started last owns it, and everything that an older owner
left open is aborted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from schemas.connection import KafkaSettings
from transport.errors import Doubt, TransportError, limited
from transport.records import Ack, Outgoing, TopicPartition
from transport.transaction_client import TransactionClient

__all__ = ["FencedProducer"]

_START_S = 10.0
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
        self._client: TransactionClient | None = None
        self._usable = False

    async def start(self, *, timeout_s: float = _START_S) -> None:
        """Takes the transactional id over: older owners are fenced and their open transaction is aborted and gone.

        Raises:
            Unavailable: no answer within ``timeout_s`` seconds.
            Misconfigured: the user may not use the transactional id.
            Doubt: anything else.
        """
        self._client = TransactionClient(self._settings, self.transactional_id)
        try:
            async with limited("taking over the transactional id", self._where, timeout_s):
                await self._client.start()
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
        if not self._usable or self._client is None:
            raise Doubt("this producer has failed or was closed", "start another one", where=self._where)
        if not messages and not offsets:
            return []
        self._usable = False
        reached = at or _nowhere
        try:
            acks = await self._commit(self._client, messages, offsets, group, reached)
        except Doubt:
            raise
        except TransportError as err:
            raise Doubt(err.what, err.remedy, where=self._where) from err
        self._usable = True
        reached("after_commit")
        return acks

    async def close(self) -> None:
        """Closes in at most 2 s, with or without a broker. What is open is left for the next owner to abort."""
        client, self._client = self._client, None
        self._usable = False
        if client is not None:
            await client.close()

    async def _commit(
        self,
        client: TransactionClient,
        messages: Sequence[Outgoing],
        offsets: Mapping[TopicPartition, int],
        group: str,
        reached: At,
    ) -> list[Ack]:
        reached("before_send")
        async with self._step(f"writing to {', '.join(sorted({out.topic for out in messages}))}"):
            written = await client.write(messages)
        if any(ack.offset < 0 for ack in written):
            raise Doubt("the broker knows a record but no longer its offset", where=self._where)
        reached("before_offsets")
        if offsets:
            async with self._step(f"adding the offsets of {group}"):
                await client.add_offsets(offsets, group)
        reached("before_commit")
        async with self._step("committing"):
            await client.commit()
        return written

    def _step(self, what: str) -> Any:
        return limited(what, self._where, self._limit_s)


def _nowhere(_: str) -> None:
    return
