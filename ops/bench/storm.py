"""``easel bench storm``: what a storm of forged and malformed requests does to a tenant that does everything right.

The storm is aimed at the partition where the tenant is at home: the others' time is not its own.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from consumer.engine.cores import available_cores
from ops.bench.pipeline.installation import Installation
from ops.bench.pipeline.loops import Loop
from ops.bench.report import BenchError, Progress, Report, Spread, table_of
from ops.bench.stack import fresh_stack
from schemas.topics import Topics
from transport.kafka import Publisher
from transport.records import Outgoing
from transport.tail import read_partition

__all__ = ["PACKAGES", "bench_storm"]

PACKAGES = ("aiokafka", "PyJWT", "cryptography")
"""What the figures depend on."""

_PER_S = 20.0
_FORGED_PER_S = 1_000
_TURN_S = 0.01
_SETTLED_S = 60.0


def bench_storm(forged: int, rounds: int, on_progress: Progress) -> Report:
    """A tenant at 20 a second alone, then beside ``forged`` bad requests at 1,000 a second, ``rounds`` times.

    Raises ``BenchError`` when a bad request got anywhere but to the dead letters.
    """
    alone: list[Sequence[float]] = []
    beside: list[Sequence[float]] = []
    number = max(20, round(forged / _FORGED_PER_S * _PER_S))
    with fresh_stack() as (stack, folder):
        stack.up("kafka")
        installation = Installation(stack.endpoints, "storm", folder / "easel", stored=False)
        try:
            installation.start()
            tenant = installation.tenants_of(0)[0]
            loop = Loop(stack, installation, folder / "drive", tenants=[tenant])
            try:
                loop.pace(40, _PER_S)
                for done in range(rounds):
                    alone.append(loop.pace(number, _PER_S))
                    on_progress(2 * done + 1, 2 * rounds)
                    bad = _bad_requests(installation, tenant, forged, folder)
                    beside.append(asyncio.run(_beside(installation, loop, bad, number)))
                    on_progress(2 * done + 2, 2 * rounds)
                asyncio.run(_require_dead(installation, forged * rounds))
            finally:
                loop.stop()
        finally:
            installation.stop()
    return _report(alone, beside, forged)


async def _beside(installation: Installation, loop: Loop, bad: Sequence[Outgoing], number: int) -> Sequence[float]:
    async with Publisher(installation.settings.kafka, client_id="storm") as publisher:
        storm = asyncio.create_task(_publish(publisher, bad))
        found = await asyncio.to_thread(loop.pace, number, _PER_S)
        await storm
    return found


async def _publish(publisher: Publisher, bad: Sequence[Outgoing]) -> None:
    began, each = time.monotonic(), round(_FORGED_PER_S * _TURN_S)
    for first in range(0, len(bad), each):
        await asyncio.sleep(max(0.0, began + first / _FORGED_PER_S - time.monotonic()))
        await asyncio.gather(*(publisher.publish(out) for out in bad[first : first + each]))


def _bad_requests(installation: Installation, tenant: str, number: int, folder: Path) -> list[Outgoing]:
    """Good requests of the tenant, each made bad in one of the ways in turn."""
    file = folder / "forged.jsonl"
    installation.write_requests(number, file, tenants=[tenant])
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    ways = islice(cycle(_WAYS), number)
    topic = Topics(installation.prefix).requests
    return [
        Outgoing(topic, *_spoiled(line, way), partition=line["partition"])
        for line, way in zip(lines, ways, strict=True)
    ]


_WAYS = ("signature", "key", "token", "body", "envelope", "none")


def _spoiled(line: dict[str, Any], way: str) -> tuple[bytes, bytes, tuple[tuple[str, bytes], ...]]:
    """The value, the key and the headers of a request that is bad in this way."""
    value, headers = line["value"], dict(line["headers"])
    token = headers["ce_signature"]
    match way:
        case "signature":
            headers["ce_signature"] = token[:-8] + "AAAAAAAA"
        case "key":
            # The header of another token: it names a key that nobody has.
            headers["ce_signature"] = (
                "eyJhbGciOiJIUzI1NiIsImtpZCI6Im5vYm9keSIsInR5cCI6ImVhc2VsLXJlcXVlc3Qrand0In0"
                + (token[token.index(".") :])
            )
        case "token":
            headers["ce_signature"] = "not a token"
        case "body":
            value = value.replace("lighthouse", "aeroplane")
        case "envelope":
            del headers["ce_id"]
        case "none":
            del headers["ce_signature"]
    return value.encode(), line["key"].encode(), tuple((name, text.encode()) for name, text in headers.items())


async def _require_dead(installation: Installation, number: int) -> None:
    """Each bad request is one dead letter, once those that are under way have arrived."""
    deadline = time.monotonic() + _SETTLED_S
    while True:
        count = await _dead_letters(installation)
        if count == number:
            return
        if time.monotonic() > deadline:
            raise BenchError(f"{number} bad requests made {count} dead letters: admission lost or invented some")
        await asyncio.sleep(0.5)


async def _dead_letters(installation: Installation) -> int:
    count = 0
    async for batch in read_partition(installation.settings.kafka, Topics(installation.prefix).dead_letters, 0):
        count += len(batch)
    return count


def _report(alone: Sequence[Sequence[float]], beside: Sequence[Sequence[float]], forged: int) -> Report:
    p95 = [[_p95(latencies) for latencies in rounds] for rounds in (alone, beside)]
    ratio = Spread.of_ratios(p95[1], p95[0])
    line: dict[str, float | int] = {
        "alone_p95_ms": round(median(p95[0]), 1),
        "beside_p95_ms": round(median(p95[1]), 1),
        "p95_ratio": round(ratio.median, 2),
        "forged": forged,
        "forged_per_s": _FORGED_PER_S,
        "cores": available_cores(),
    }
    rows = [["alone", *Spread.of(p95[0]).cells(1)], ["beside the storm", *Spread.of(p95[1]).cells(1)]]
    rows.append(["ratio", *ratio.cells(2)])
    details = {"forged": forged, "alone_ms": [*map(list, alone)], "beside_ms": [*map(list, beside)]}
    return Report("storm", line, [table_of(["p95, ms, at 20 a second", "median", "lowest", "highest"], rows)], details)


def _p95(values: Sequence[float]) -> float:
    return quantiles(values, n=20, method="inclusive")[18]
