"""Tenants as they should be, beside the others: how soon they are answered is what hostile events may not change."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence

from ops.hostile.bodies import request
from ops.hostile.installation import MODEL
from schemas.connection import KafkaSettings
from schemas.envelope import Envelope
from schemas.ids import new_id
from schemas.requests import GenerationRequest
from schemas.signing import Signer
from schemas.topics import Topics
from transport.kafka import Publisher
from transport.records import Outgoing

__all__ = ["serve"]

_RATE = 4.0
_ACK_S = 10.0


async def serve(settings: KafkaSettings, signers: Sequence[Signer], published: dict[str, float]) -> None:
    """Publish in turn, at a steady rate, until cancelled; ``published``: request → when it was acknowledged."""
    topic = Topics(settings.prefix).requests
    async with Publisher(settings, client_id="good") as publisher:
        for number, signer in enumerate(itertools.cycle(signers)):
            name, data = new_id(), request(MODEL, metadata={"n": str(number)})
            token = signer.sign(
                tenant=signer.issuer,
                event_type=GenerationRequest.TYPE,
                event_id=name,
                body=data,
                now_s=time.time(),
            )
            event = Envelope(id=name, type=GenerationRequest.TYPE, source="good", data=data, signature=token)
            await publisher.publish(Outgoing(topic, data, signer.issuer.encode(), event.headers()), timeout_s=_ACK_S)
            published[name] = time.monotonic()
            await asyncio.sleep(1 / _RATE)
