"""Publishes for the HTTP API: connects by itself, comes back by itself, and says no at once while Kafka is away."""

from __future__ import annotations

import asyncio
import logging
import time

from producer_api.background import end
from producer_api.lots import Lots
from producer_api.metrics import Metrics
from schemas.connection import KafkaSettings
from transport.errors import Doubt, TransportError, Unavailable
from transport.kafka import Publisher
from transport.records import Outgoing
from transport.topics import cluster_id

__all__ = ["Outlet"]

log = logging.getLogger(__name__)

_PUBLISH_S = 2.5
_PROBE_S = 3.0
_LOOK_S = 0.5
_TRUSTED_S = 5.0
"""An answer of the cluster counts for this long; then it is asked again, publishing or not."""


class Outlet:
    """The one publisher of an API process."""

    def __init__(self, kafka: KafkaSettings, metrics: Metrics) -> None:
        self._kafka = kafka
        self._metrics = metrics
        self._publisher: Publisher | None = None
        self._lots: Lots | None = None
        self._task: asyncio.Task[None] | None = None
        self._answered_at = 0.0
        self.problem: str | None = "Kafka has not been reached yet"
        """Why nothing can be published; None when it can."""

    def start(self) -> None:
        """Connect, in the background."""
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Close. Never waits long, with or without a broker."""
        await end(self._task)
        if self._lots is not None:
            await self._lots.stop()
        if self._publisher is not None:
            await self._publisher.stop()

    async def publish(self, out: Outgoing) -> None:
        """Write a record, acknowledged by all replicas.

        Raises ``Unavailable`` at once while Kafka is known to be away, or has just shown to be: nothing was written.
        Raises ``Doubt`` when it did not answer: the record may be written nonetheless.
        """
        lots = self._lots
        if lots is None or self.problem is not None:
            raise Unavailable(self.problem or "Kafka has not been reached yet", where=self._kafka.bootstrap_servers)
        try:
            await lots.publish(out, _PUBLISH_S)
        except TransportError as error:
            self._metrics.publish_failures.inc()
            if isinstance(error, Unavailable | Doubt):
                # Those who come next need not wait for what has just failed; the probe takes this back.
                self.problem = f"Kafka does not answer: {error.what}"
            raise
        self._answered_at = time.monotonic()

    async def _watch(self) -> None:
        while True:
            try:
                if self._publisher is None:
                    publisher = Publisher(self._kafka, client_id=f"{self._kafka.prefix}-api")
                    await publisher.start()
                    self._publisher = publisher
                    self._lots = Lots(publisher)
                elif self.problem is not None or time.monotonic() - self._answered_at > _TRUSTED_S:
                    await cluster_id(self._kafka, timeout_s=_PROBE_S)
                else:
                    await asyncio.sleep(_LOOK_S)
                    continue
                self._answered_at = time.monotonic()
                if self.problem is not None:
                    log.info("Kafka answers")
                self.problem = None
            except TransportError as error:
                if self.problem is None:
                    log.warning("Kafka is away: %s", error)
                self.problem = f"Kafka does not answer: {error}"
            except Exception:
                log.exception("watching Kafka failed")
                self.problem = "Kafka can't be watched; see the log"
            await asyncio.sleep(_LOOK_S)
