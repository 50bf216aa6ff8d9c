"""Deletes: what the store holds of a request goes, however long the store is away. Beside the engine, never in turn."""

from __future__ import annotations

import asyncio

from consumer.faults import fault
from consumer.generation.backlog import Backlog
from consumer.generation.offsets import Token
from consumer.generation.outputs import Outputs
from consumer.generation.reports import Reports
from consumer.metrics import Metrics
from schemas.jobs import DeleteAssigned
from transport.errors import TransportError
from transport.logs import logger
from transport.records import TopicPartition

__all__ = ["Deleter"]

_AT_ONCE = 4
_BACKOFF_S = 0.2
_MAX_BACKOFF_S = 10.0

_log = logger("generation")


class Deleter:
    """Does each delete once here; what a crash leaves of one is delivered again, and finds less to do."""

    def __init__(self, backlog: Backlog, outputs: Outputs, reports: Reports, metrics: Metrics) -> None:
        self._backlog = backlog
        self._outputs = outputs
        self._reports = reports
        self._metrics = metrics
        self._at_once = asyncio.Semaphore(_AT_ONCE)

    async def delete(self, assigned: DeleteAssigned, traceparent: str | None, delivery: Token[TopicPartition]) -> None:
        """Delete, report, and be done with the delivery; or leave it to whoever owns its partition then."""
        delay, objects = _BACKOFF_S, None
        while objects is None:
            try:
                async with self._at_once:
                    fault("generation.before_delete")
                    objects = await self._outputs.remove(assigned.tenant, assigned.request_id)
            except TransportError as error:
                _log.warning("a delete will be tried again", reason=str(error), **_facts(assigned))
                await asyncio.sleep(delay)
                delay = min(delay * 2, _MAX_BACKOFF_S)
                if not self._backlog.offsets.live(delivery):
                    return
        fault("generation.before_deleted")
        await self._reports.deleted(assigned, traceparent, objects)
        fault("generation.after_deleted")
        self._backlog.done(delivery)
        self._metrics.inc("easel_generation_jobs_total", result="deleted")
        _log.info("deleted", objects=objects, **_facts(assigned))


def _facts(assigned: DeleteAssigned) -> dict[str, object]:
    return {
        "tenant": assigned.tenant,
        "request_id": assigned.request_id,
        "delete_id": assigned.delete_id,
        "attempt": assigned.attempt,
    }
