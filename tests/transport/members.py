"""Members of a consumer group, with what happened to them written down."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from schemas.connection import KafkaSettings
from transport.group import GroupConsumer
from transport.records import Record, TopicPartition

__all__ = ["Member", "member", "until"]

SESSION_S = 6.0


class Member(GroupConsumer):
    """Remembers each assignment and revocation, in order."""

    def __init__(self, settings: KafkaSettings, topics: Sequence[str], **options: Any) -> None:
        self.assigned: list[frozenset[TopicPartition]] = []
        self.revoked: list[frozenset[TopicPartition]] = []
        options.setdefault("group", f"{settings.prefix}.group")
        options.setdefault("session_timeout_s", SESSION_S)
        super().__init__(
            settings, topics=topics, on_assigned=self.assigned.append, on_revoked=self.revoked.append, **options
        )

    async def joined(self, partitions: int, *, within_s: float = 15.0) -> float:
        """Polls until it owns that many; returns the seconds it took."""
        start = time.monotonic()
        while len(self.assignment()) != partitions:
            assert time.monotonic() - start < within_s, f"owns {sorted(self.assignment())}"
            assert await self.poll(0.05) == []
        return time.monotonic() - start

    async def take(self, count: int, *, within_s: float = 10.0) -> list[Record]:
        """The next ``count`` records, or as many as come in time."""
        taken: list[Record] = []
        deadline = time.monotonic() + within_s
        while len(taken) < count and time.monotonic() < deadline:
            taken += await self.poll(0.1)
        return taken


@contextlib.asynccontextmanager
async def member(settings: KafkaSettings, topics: Sequence[str], **options: Any) -> AsyncIterator[Member]:
    """A member that has joined alone and owns at least one partition."""
    consumer = Member(settings, topics, **options)
    async with consumer:
        await until(lambda: bool(consumer.assignment()))
        yield consumer


async def until(condition: Callable[[], bool], *, within_s: float = 15.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - what is waited for is not always ours to signal
            await asyncio.sleep(0.02)
