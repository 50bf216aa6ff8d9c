"""Publishes at a steady rate, whatever the broker does, and writes down what it did."""

from __future__ import annotations

import asyncio
import time

from ops.chaos.journal import Acked, Journal
from ops.chaos.plan import Draft, Plan
from schemas.connection import KafkaSettings
from transport.errors import TransportError
from transport.kafka import Publisher

__all__ = ["drive"]

_PATIENCE_S = 10.0


async def drive(kafka: KafkaSettings, plan: Plan, journal: Journal, *, rate: float, seconds: float) -> None:
    """Send ``rate`` a second for ``seconds``, then wait until each is acknowledged or was given up."""
    under_way: set[asyncio.Task[None]] = set()
    async with Publisher(kafka, client_id="chaos") as publisher:
        began = due = time.monotonic()
        while (now := time.monotonic()) < began + seconds:
            if now < due:
                await asyncio.sleep(due - now)
            due += 1.0 / rate
            draft = plan.next()
            journal.note(draft.sent)
            task = asyncio.create_task(_publish(publisher, draft, journal))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)


async def _publish(publisher: Publisher, draft: Draft, journal: Journal) -> None:
    try:
        ack = await publisher.publish(draft.record, timeout_s=_PATIENCE_S)
    except TransportError:
        # Whether it was written is not known: the journal has no acknowledgement of it.
        return
    journal.note(Acked(n=draft.sent.n, partition=ack.partition, offset=ack.offset))
