"""``easel bench sse``: thousands of streams on one process of the HTTP API, and the events of all their tasks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle, islice
from statistics import median, quantiles
from typing import Any

import httpx

from ops.bench.pipeline.installation import Installation
from ops.bench.pipeline.parts import cpu_seconds, resident_mib
from ops.bench.report import Progress, Report, table_of
from ops.bench.sse.readers import Reader, Readers
from ops.bench.stack import fresh_stack
from schemas.envelope import Envelope
from schemas.events import Accepted, Canceled, Event, GenerationStep
from schemas.ids import event_id, new_id
from schemas.topics import Topics
from transport.kafka import Publisher
from transport.records import Outgoing

__all__ = ["PACKAGES", "Plan", "bench_sse"]

PACKAGES = ("aiokafka", "fastapi", "httptools", "pydantic", "pydantic-core", "starlette", "uvicorn", "uvloop")
"""What the figures depend on."""

_LIMIT_S = 60.0
_SLOW_ONE_IN = 10
_MOST_GROWTH_MIB = 16.0
"""From the first round to the last: what the allocator does with the same work again and again."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Streams, and rounds: in each, every task has gone one step further."""

    streams: int = 2_000
    rounds: int = 20


@dataclass(frozen=True, slots=True)
class _Seen:
    """The API's process after a round. ``delays_ms``: from publishing a step to its arrival, of each reader."""

    resident_mib: float
    cpu_s: float
    delays_ms: Sequence[float]


def bench_sse(plan: Plan, on_progress: Progress) -> Report:
    """Open the streams, tell their tasks' events as the two stages do, and see what the process holds.

    One reader in ten reads nothing until the end. Raises ``BenchError``, and ``LocalStackError`` where the broker can't
    be started.
    """
    with fresh_stack() as (stack, folder), ExitStack() as ends:
        stack.up("kafka")
        installation = Installation(stack.endpoints, "easel", folder / "easel", stored=False, http=True)
        ends.callback(installation.stop)
        installation.start()
        return asyncio.run(_measured(installation, plan, on_progress))


async def _measured(installation: Installation, plan: Plan, on_progress: Progress) -> Report:
    api = installation.services["api"]
    tasks = list(zip(islice(cycle(installation.api_keys), plan.streams), _new_ids(), strict=False))
    before_mib = resident_mib(api.process.pid)
    readers = Readers(
        api.port,
        (
            Reader(_request(api.port, id_, installation.api_keys[tenant]), slow=number % _SLOW_ONE_IN == 0)
            for number, (tenant, id_) in enumerate(tasks)
        ),
    )
    seen: list[_Seen] = []
    try:
        async with Publisher(installation.settings.kafka, client_id="bench") as publisher:
            say = _Say(publisher, Topics(installation.prefix), tasks)
            await say.accepted()
            await _until_known(api.port, tasks[-1], installation.api_keys)
            await readers.open()
            open_mib = resident_mib(api.process.pid)
            cpu_s = cpu_seconds(api.process.pid)
            for number in range(1, plan.rounds + 1):
                published = await say.step(number)
                await readers.told(f"1-{number}", _LIMIT_S)
                came = [reader.at[f"1-{number}"] for reader in readers.all if reader.reads]
                seen.append(
                    _Seen(
                        resident_mib(api.process.pid),
                        cpu_seconds(api.process.pid) - cpu_s,
                        [(at - published) * 1_000 for at in came],
                    )
                )
                on_progress(number, plan.rounds)
            await say.canceled()
            await readers.ended(_LIMIT_S)
    finally:
        readers.close()
    return _report(plan, readers, before_mib, open_mib, seen)


class _Say:
    """Tells what happens to all tasks, as admission and a worker would."""

    def __init__(self, publisher: Publisher, topics: Topics, tasks: Sequence[tuple[str, str]]) -> None:
        self._publisher = publisher
        self._topics = topics
        self._tasks = tasks

    async def accepted(self) -> None:
        await self._publish(
            self._topics.results,
            (
                Accepted(tenant=tenant, request_id=id_, model="nothing", cost_milliunits=1, position=0, seed=1)
                for tenant, id_ in self._tasks
            ),
        )

    async def step(self, number: int) -> float:
        """Returns when it began to tell."""
        began = time.monotonic()
        await self._publish(
            self._topics.progress,
            (
                GenerationStep(tenant=tenant, request_id=id_, attempt=1, step=number, steps=1_000)
                for tenant, id_ in self._tasks
            ),
            number,
        )
        return began

    async def canceled(self) -> None:
        await self._publish(
            self._topics.results,
            (
                Canceled(tenant=tenant, request_id=id_, attempt=1, cost_milliunits=0, refunded_milliunits=1)
                for tenant, id_ in self._tasks
            ),
        )

    async def _publish(self, topic: str, events: Iterable[Event], number: int = 0) -> None:
        records = [_record(topic, event, number) for event in events]
        await asyncio.gather(*(self._publisher.publish(record, timeout_s=_LIMIT_S) for record in records))


def _record(topic: str, event: Event, number: int) -> Outgoing:
    envelope = Envelope(
        id=event_id(event.tenant, event.request_id, event.TYPE, number),
        type=event.TYPE,
        source="easel",
        subject=event.request_id,
        data=event.model_dump_json().encode(),
    )
    return Outgoing(topic, envelope.data, key=event.tenant.encode(), headers=envelope.headers())


async def _until_known(port: int, last: tuple[str, str], keys: dict[str, str]) -> None:
    tenant, id_ = last
    headers = {"X-API-Key": keys[tenant]}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers) as http, asyncio.timeout(60):
        while (await http.get(f"/v1/tasks/{id_}")).status_code != 200:  # noqa: ASYNC110 - it is another process's
            await asyncio.sleep(0.05)


def _new_ids() -> Iterable[str]:
    while True:
        yield new_id()


def _request(port: int, id_: str, key: str) -> bytes:
    return (
        f"GET /v1/tasks/{id_}/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\n\r\n"
    ).encode()


def _report(plan: Plan, readers: Readers, before_mib: float, open_mib: float, seen: Sequence[_Seen]) -> Report:
    whole = [one for one in readers.all if one.order[0] == "0-0" and one.order[-1] == "end" and _in_order(one.order)]
    delays = [delay for one in seen for delay in one.delays_ms]
    growth = seen[-1].resident_mib - seen[0].resident_mib
    sent = sum(1 for one in readers.all for id_ in one.order if id_ not in ("0-0", "end"))
    line: dict[str, float | int] = {
        "streams": plan.streams,
        "delivered": len(whole),
        "kib_per_stream": round((open_mib - before_mib) * 1024 / plan.streams, 1),
        "growth_mib": round(growth, 1),
        "cpu_us_per_event": round(seen[-1].cpu_s / max(1, sent) * 1e6),
        "delay_p50_ms": round(median(delays)),
        "delay_p99_ms": round(quantiles(delays, n=100, method="inclusive")[98]),
    }
    rows = [["before", f"{before_mib:.1f}", "", ""], ["all open", f"{open_mib:.1f}", "", ""]]
    rows += [
        [f"round {number}", f"{one.resident_mib:.1f}", f"{one.cpu_s:.2f}", f"{median(one.delays_ms):.0f}"]
        for number, one in enumerate(seen, 1)
    ]
    details: dict[str, Any] = {
        "before_mib": before_mib,
        "open_mib": open_mib,
        "rounds": [[one.resident_mib, one.cpu_s, median(one.delays_ms)] for one in seen],
        "bytes": sum(one.received for one in readers.all),
        "events": sent,
    }
    missed = []
    if len(whole) != plan.streams:
        missed.append(f"{plan.streams - len(whole)} readers were not told all in order")
    if growth > _MOST_GROWTH_MIB:
        missed.append(f"memory grew by {growth:.1f} MiB, at most {_MOST_GROWTH_MIB:g} are wanted")
    table = table_of(["the API's process", "MiB", "CPU s", "delay p50 ms"], rows)
    return Report("sse", line, [table], details, missed=missed)


def _in_order(ids: Sequence[str]) -> bool:
    """Whether nothing was told twice, or after what comes later."""
    steps = [int(id_.partition("-")[2]) for id_ in ids if id_ != "end"]
    return steps == sorted(set(steps)) and ids.index("end") == len(ids) - 1
