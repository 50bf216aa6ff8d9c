"""One short-lived administrative client for one call or a few."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient

from schemas.connection import KafkaSettings
from transport.kafka import client_options

__all__ = ["admin_client"]


@contextlib.asynccontextmanager
async def admin_client(settings: KafkaSettings) -> AsyncIterator[Any]:
    """Connected inside the block. Raises the Kafka client's own errors: put it into ``limited``."""
    admin = AIOKafkaAdminClient(**client_options(settings))
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()
