"""``easel bench restore``: how soon a partition's memory is back from its ledger, and how much of it there is.

All requests lie on one partition, which is the worst case: a partition is restored by one thread of one process. Each
restore is the first thing that a new process does, so that what it holds afterwards is what it took.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from msgspec.structs import replace

from consumer.admission.batch import decide_batch
from consumer.admission.fleet_view import NO_FLEET
from consumer.admission.ledger import request_record, restore
from consumer.admission.state import EndedRequest, OpenRequest, PartitionState, RequestKey
from consumer.engine.cores import available_cores
from ops.bench.pipeline.parts import Part
from ops.bench.report import Progress, Report, Spread, table_of
from ops.bench.requests import make_requests
from ops.bench.stack import fresh_stack
from schemas.connection import KafkaSettings
from schemas.ids import new_id
from schemas.topics import TopicSpec
from transport.records import Outgoing
from transport.tail import read_partition
from transport.topics import ensure_topics
from transport.transactions import FencedProducer

__all__ = ["PACKAGES", "bench_restore"]

PACKAGES = ("aiokafka", "pydantic", "pydantic-core")
"""What the figures depend on."""

_AT_ONCE = 2_000
_LIMIT_S = 300.0
_KINDS = ("remembered", "waiting")
_TENANTS = 8
_HOUR_MS = 3_600_000


def bench_restore(requests: int, rounds: int, on_progress: Progress) -> Report:
    """Restore so many requests that have ended, and then so many that wait, ``rounds`` times each.

    Raises ``BenchError``, and ``LocalStackError`` where the broker can't be started.
    """
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in _KINDS}
    with fresh_stack() as (stack, folder):
        stack.up("kafka")
        kafka = KafkaSettings(bootstrap_servers=stack.endpoints.kafka, prefix="restore")
        for kind in _KINDS:
            asyncio.run(_write(kafka, kind, requests))
        for number in range(rounds):
            for index, kind in enumerate(_KINDS):
                found[kind].append(_restored(kafka, kind, folder))
                on_progress(number * len(_KINDS) + index + 1, rounds * len(_KINDS))
    return _report(found, requests)


def _restored(kafka: KafkaSettings, kind: str, folder: Path) -> dict[str, float]:
    part = Part([sys.executable, "-m", "ops.bench.restore", kafka.bootstrap_servers, kind], folder / f"{kind}.log")
    try:
        return part.answer(_LIMIT_S)
    finally:
        part.stop()


async def _write(kafka: KafkaSettings, kind: str, requests: int) -> None:
    topic = f"{kafka.prefix}.{kind}"
    await ensure_topics(kafka, [TopicSpec(topic, 1, {"message.timestamp.type": "LogAppendTime"})])
    producer = FencedProducer(kafka, transactional_id=topic)
    await producer.start()
    records = _remembered(topic, requests) if kind == "remembered" else _waiting(topic, requests)
    try:
        while batch := list(islice(records, _AT_ONCE)):
            await producer.commit(batch, {}, kafka.prefix)
    finally:
        await producer.close()


def _remembered(topic: str, requests: int) -> Iterator[Outgoing]:
    now_ms = int(time.time() * 1000)
    for number in range(requests):
        key = RequestKey(f"tenant-{number % _TENANTS}", new_id())
        body = hashlib.sha256(key.request_id.encode()).hexdigest()
        yield request_record(topic, 0, key, EndedRequest(key, "succeeded", body, now_ms, now_ms + 72 * _HOUR_MS))


def _waiting(topic: str, requests: int) -> Iterator[Outgoing]:
    like = _queued()
    for number in range(requests):
        key = RequestKey(f"tenant-{number % _TENANTS}", new_id())
        parameters = like.parameters.model_copy(
            update={"seed": number, "prompt": f"{like.parameters.prompt}, {number}"}
        )
        body = hashlib.sha256(key.request_id.encode()).hexdigest()
        yield request_record(
            topic, 0, key, replace(like, key=key, parameters=parameters, body_sha256=body, sequence=number)
        )


def _queued() -> OpenRequest:
    """A request as admission keeps it before its turn."""
    requests = make_requests("HS256", 1)
    state = PartitionState()
    state.next_offsets = dict.fromkeys(requests.rules.inputs.values(), 0)
    decide_batch(state, requests.records, requests.rules, None, NO_FLEET)
    (request,) = state.requests.values()
    if not isinstance(request, OpenRequest):
        raise TypeError("a request that was just accepted has ended; this is a defect")
    return replace(request, state="queued", attempt=0, dispatched_ms=None)


def _report(found: dict[str, list[dict[str, float]]], requests: int) -> Report:
    def each(kind: str, name: str) -> Sequence[float]:
        return [one[name] for one in found[kind]]

    line: dict[str, float | int] = {"requests": requests}
    for kind in _KINDS:
        line |= {
            f"{kind}_s": round(median(each(kind, "seconds")), 2),
            f"{kind}_bytes": round(median(each(kind, "bytes"))),
        }
    line["cores"] = available_cores()
    rows = [
        [f"{requests:,} {kind}", *Spread.of(each(kind, "seconds")).cells(2), *_bytes(found[kind])] for kind in _KINDS
    ]
    head = ["restore, seconds", "median", "lowest", "highest", "bytes a request", "at most", "longest pause, ms"]
    return Report("restore", line, [table_of(head, rows)], {"requests": requests, "rounds": found})


def _bytes(rounds: Sequence[dict[str, float]]) -> list[str]:
    kept, peak, pause = (median(one[name] for one in rounds) for name in ("bytes", "peak_bytes", "pause_ms"))
    return [f"{kept:,.0f}", f"{peak:,.0f}", f"{pause:,.0f}"]


async def _measure(kafka: KafkaSettings, topic: str) -> dict[str, Any]:
    process = psutil.Process()
    gc.collect()
    before = process.memory_info().rss
    pauses = asyncio.create_task(_longest_pause())
    began = time.perf_counter()
    restored = await restore(read_partition(kafka, topic, 0))
    seconds = time.perf_counter() - began
    await asyncio.sleep(0)
    pauses.cancel()
    requests = len(restored.state.requests)
    gc.collect()
    kept = process.memory_info().rss - before
    peak = _peak() - before
    longest = max(_PAUSES, default=0.0)
    return {
        "seconds": seconds,
        "requests": requests,
        "bytes": kept / requests,
        "peak_bytes": peak / requests,
        "pause_ms": longest * 1000,
    }


_PAUSES: list[float] = []


async def _longest_pause() -> None:
    """Note how long the event loop did nothing else: a member of a group has to be heard meanwhile."""
    last = time.perf_counter()
    while True:
        await asyncio.sleep(0.005)
        now = time.perf_counter()
        _PAUSES.append(now - last)
        last = now


def _peak() -> int:
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # KiB on Linux, bytes on macOS.
    return most if sys.platform == "darwin" else most * 1024


def main() -> None:
    """One restore, told in a line of JSON."""
    kafka = KafkaSettings(bootstrap_servers=sys.argv[1], prefix="restore")
    print(json.dumps(asyncio.run(_measure(kafka, f"restore.{sys.argv[2]}"))), flush=True)


if __name__ == "__main__":
    main()
