"""What a worker fetches, and when: a member of a real group, with nobody at the jobs but the test."""

from __future__ import annotations

import asyncio
import time

from consumer.generation.backlog import Backlog
from consumer.generation.membership import Membership
from consumer.generation.offsets import Token
from consumer.metrics import Metrics
from tests.consumer.generation.harness import Installation, job
from tests.until import until
from transport.records import Record, TopicPartition

_MANY = 300
"""More than a worker takes on at once."""


async def test_what_becomes_free_is_fetched_for_at_once(installation: Installation) -> None:
    """Nothing arrives while nothing is fetched: the poll under way would sleep until its time is up."""
    backlog = Backlog(lambda _: 1)
    taken: list[Token[TopicPartition]] = []

    def take(record: Record) -> None:
        token = backlog.offsets.deliver(record.tp, record.offset)
        assert token is not None
        taken.append(token)

    membership = Membership(installation.settings, backlog, take, Metrics(), lambda: None)
    running = asyncio.create_task(membership.run())
    try:
        await until(lambda: membership.partitions)
        waits = []
        for _ in range(5):
            taken.clear()
            await installation.assign(*[job() for _ in range(_MANY)], partition=0)
            await until(lambda: len(taken) == _MANY)
            await installation.assign(job(), partition=0)
            began = time.monotonic()
            for token in taken:
                backlog.done(token)
            await until(lambda: len(taken) == _MANY + 1)
            waits.append(time.monotonic() - began)
            backlog.done(taken[-1])
        # At the end of a poll it would take a quarter of a second, less what writing one more has taken.
        assert min(waits) < 0.12, waits
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
