"""One real run beside the simulation: broker, admission and a worker whose engine takes a stated time for a step."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping

from ops.bench.fairness.cases import Busy
from ops.bench.pipeline.installation import PARTITIONS, Installation
from ops.bench.pipeline.loops import Loop
from ops.bench.stack import fresh_stack
from schemas.connection import KafkaSettings
from schemas.envelope import Envelope
from schemas.events import Succeeded
from schemas.topics import Topics
from transport.tail import read_partition

__all__ = ["REAL_WEIGHTS", "real_run"]

REAL_WEIGHTS = (1, 2, 4)
_BATCH, _STEPS, _STEP_S = 32, 4, 0.1
"""32 pictures in 0.4 s: slow enough that the queue, and not the two cores, is what is waited for."""
_SETTLED = 0.1
"""The part of the watched time at its beginning that is left out: the window grows from nothing."""


class _Weighted(Installation):
    """Tenants of different weights, and batches that take their time."""

    def _write_files(self) -> None:
        super()._write_files()
        tenants = json.loads(self.settings.tenants.read_text())
        for index, tenant in enumerate(tenants["tenants"]):
            tenant["weight"] = REAL_WEIGHTS[index % len(REAL_WEIGHTS)]
        self.settings.tenants.write_text(json.dumps(tenants))
        models = json.loads(self.settings.models.read_text())
        for model in models["models"].values():
            model |= {"max_batch_images": _BATCH, "defaults": {"width": 64, "height": 64, "steps": _STEPS}}
        self.settings.models.write_text(json.dumps(models))

    def _variables(self) -> dict[str, str]:
        return {
            **super()._variables(),
            "EASEL_NULL_STEP_S": str(_STEP_S),
            "EASEL_ADMISSION_WINDOW_JOBS": str(_BATCH),
        }

    def weights(self) -> dict[str, int]:
        """Tenant → weight."""
        tenants = json.loads(self.settings.tenants.read_text())["tenants"]
        return {tenant["id"]: tenant["weight"] for tenant in tenants}


def real_run(each: int) -> Busy:
    """All tenants ask for ``each`` pictures at once; what each had got when the first of them had all of its own.

    The time while the worker idles is not told: its own metric is, where it is measured.
    """
    with fresh_stack() as (stack, folder):
        stack.up()
        installation = _Weighted(stack.endpoints, "fair", folder / "fair", stored=False)
        installation.start()
        weights = installation.weights()
        loop = Loop(stack, installation, folder / "driver")
        try:
            loop.flood(each * len(weights))
        finally:
            loop.stop()
            installation.stop()
        served = asyncio.run(_served(installation.settings.kafka))
    return Busy(weights, _while_all_wanted(served, each), 0.0)


def _while_all_wanted(served: list[tuple[int, str]], each: int) -> Mapping[str, int]:
    """Pictures by tenant, from when the fleet had settled until the first tenant wanted no more."""
    served.sort()
    total, end_ms = Counter[str](), served[-1][0]
    for at_ms, tenant in served:
        total[tenant] += 1
        if total[tenant] == each:
            end_ms = at_ms
            break
    first_ms = served[0][0] + (end_ms - served[0][0]) * _SETTLED
    return Counter(tenant for at_ms, tenant in served if first_ms <= at_ms <= end_ms)


async def _served(kafka: KafkaSettings) -> list[tuple[int, str]]:
    """When, by the broker, each request ended, and whose it was."""
    found: list[tuple[int, str]] = []
    for partition in range(PARTITIONS):
        async for records in read_partition(kafka, Topics(kafka.prefix).results, partition):
            for record in records:
                envelope = Envelope.read(record.headers, record.value)
                if envelope.type == Succeeded.TYPE:
                    found.append((record.timestamp_ms, (record.key or b"").decode()))
    return found
