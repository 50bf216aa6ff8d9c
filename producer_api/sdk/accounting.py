"""What a tenant was charged, entry by entry, as the usage topic has it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime

from pydantic import ValidationError

from producer_api.sdk.exceptions import TimedOut, Unreachable
from producer_api.sdk.history import history
from schemas.connection import KafkaSettings
from schemas.envelope import Envelope
from schemas.errors import EaselError
from schemas.events import UsageHeld, UsageRefunded, UsageSettled
from schemas.topics import Topics
from transport.errors import TransportError
from transport.records import Record

__all__ = ["UsageEntry", "read_usage"]

log = logging.getLogger(__name__)

UsageEntry = UsageHeld | UsageSettled | UsageRefunded
"""A movement of units; ``day`` and ``month`` are the balances after it."""

_SHAPES: dict[str, type[UsageEntry]] = {shape.TYPE: shape for shape in (UsageHeld, UsageSettled, UsageRefunded)}


async def read_usage(
    kafka: KafkaSettings, tenant: str, since: datetime | None, *, timeout_s: float
) -> list[UsageEntry]:
    """The tenant's entries that the broker took at ``since`` or later. Raises ``TimedOut`` and ``Unreachable``."""
    try:
        async with asyncio.timeout(timeout_s):
            return [entry async for entry in _entries(kafka, tenant, since)]
    except TimeoutError:
        raise TimedOut(f"the usage could not be read within {timeout_s:g} s") from None
    except TransportError as error:
        raise Unreachable(str(error)) from error


async def _entries(kafka: KafkaSettings, tenant: str, since: datetime | None) -> AsyncIterator[UsageEntry]:
    async with aclosing(history(kafka, Topics(kafka.prefix).usage, tenant, since=since)) as batches:
        async for batch in batches:
            for record in batch:
                entry = _entry(record)
                if entry is not None and entry.tenant == tenant:
                    yield entry


def _entry(record: Record) -> UsageEntry | None:
    try:
        envelope = Envelope.read(record.headers, record.value)
        shape = _SHAPES.get(envelope.type)
        return None if shape is None else shape.model_validate_json(envelope.data)
    except (EaselError, ValidationError) as error:
        log.warning("passed over %s[%d] offset %d: %s", record.topic, record.partition, record.offset, error)
        return None
