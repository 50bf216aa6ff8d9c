"""``easel bench http``: the schedule of its measurements, and what is told of them."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from rich.table import Table

from ops.bench import bare_http
from ops.bench.http import load
from ops.bench.pipeline.installation import PARTITIONS, Installation, make_bare_topics
from ops.bench.pipeline.parts import Part, cpu_seconds
from ops.bench.report import BenchError, Progress, Report, Spread, table_of
from ops.bench.stack import fresh_stack
from ops.local.ports import free_port
from ops.local.stack import Stack

__all__ = ["PACKAGES", "Plan", "bench_http"]

PACKAGES = ("aiokafka", "fastapi", "httptools", "PyJWT", "pydantic", "pydantic-core", "starlette", "uvicorn", "uvloop")
"""What the figures depend on."""

_CONNECTIONS = 50
_PER_S = 20.0
_WARM_UP_S = 2.0
_GRACE_S = 60.0
_LEAST_RATIO = 0.3
_MOST_P50_MS, _MOST_P99_MS = 25.0, 80.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured: seconds of each measurement, and rounds of both services."""

    seconds: float = 5.0
    rounds: int = 5


@dataclass(frozen=True, slots=True)
class _Crowd:
    """50 clients that each ask again at once. ``cpu_us``: part → processor time of a request."""

    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: Mapping[str, float]


@dataclass(slots=True)
class _Service:
    """One of the two, its client, and what was measured of it."""

    name: str
    client: Part
    pids: Mapping[str, int]
    requests: Sequence[str]
    expect: str
    crowds: list[_Crowd] = field(default_factory=list)
    paced_ms: list[float] = field(default_factory=list)
    errors: int = 0
    wrong: list[str] = field(default_factory=list)

    def crowd(self, seconds: float) -> _Crowd:
        pids = {**self.pids, "client": self.client.process.pid}
        before = {name: cpu_seconds(pid) for name, pid in pids.items()}
        answer = self._ask({"connections": _CONNECTIONS, "seconds": seconds}, seconds)
        found = answer["latencies_ms"]
        spent = {name: cpu_seconds(pid) - before[name] for name, pid in pids.items()}
        if len(found) < _CONNECTIONS:
            raise BenchError(f"{self.name} answered {len(found)} requests as it must; others: {self.wrong}")
        return _Crowd(
            len(found) / answer["seconds"],
            median(found),
            _p99(found),
            {name: one / len(found) * 1e6 for name, one in spent.items()},
        )

    def pace(self, seconds: float) -> list[float]:
        number = max(2, round(seconds * _PER_S))
        answer = self._ask({"per_s": _PER_S, "number": number}, seconds)
        return list(answer["latencies_ms"])

    def _ask(self, task: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        answer = self.client.ask({**task, "requests": self.requests, "expect": self.expect}, seconds + _GRACE_S)
        self.errors += answer["errors"]
        self.wrong += answer["wrong"]
        return answer


def bench_http(plan: Plan, on_progress: Progress) -> Report:
    """Both services in turn, each alone on the machine but for the broker, and for ours admission.

    Raises ``BenchError``, and ``LocalStackError`` where the broker can't be started.
    """
    done, total = 0, plan.rounds * 4
    with fresh_stack() as (stack, folder), _services(stack, folder) as (ours, bare):
        for service in (ours, bare):
            service.crowd(_WARM_UP_S)
        for number in range(plan.rounds):
            # Neither may always have the machine as the other left it.
            for service in (ours, bare) if number % 2 == 0 else (bare, ours):
                service.crowds.append(service.crowd(plan.seconds))
                service.paced_ms += service.pace(plan.seconds)
                on_progress(done := done + 2, total)
    return _report(ours, bare, plan)


@contextmanager
def _services(stack: Stack, folder: Path) -> Iterator[tuple[_Service, _Service]]:
    with ExitStack() as ends:
        stack.up("kafka")
        broker = {"broker": pid} if (pid := stack.pid("kafka")) else {}
        installation = Installation(stack.endpoints, "easel", folder / "easel", stored=False, http=True)
        ends.callback(installation.stop)
        installation.start()
        api = installation.services["api"]
        keys = [installation.api_keys[name] for number in range(PARTITIONS) for name in installation.tenants_of(number)]
        ours = _Service(
            "easel",
            _client(api.port, folder / "client.log", ends),
            {"api": api.process.pid, "admission": installation.services["admission"].process.pid, **broker},
            [_request(api.port, number, key) for number, key in enumerate(keys)],
            '"state":"accepted"',
        )
        make_bare_topics(stack.endpoints, "bare")
        port = free_port()
        # The file alone: its folder, and with it ours, is not to be found by imports.
        command = [sys.executable, "-P", bare_http.__file__, stack.endpoints.kafka, "bare.requests", str(port)]
        server = Part(command, folder / "bare.log", health=port)
        ends.callback(server.stop)
        server.wait_ready()
        bare = _Service(
            "bare",
            _client(port, folder / "bare-client.log", ends),
            {"api": server.process.pid, **broker},
            [_request(port, number, key) for number, key in enumerate(keys)],
            '"state":"published"',
        )
        yield ours, bare


def _client(port: int, log: Path, ends: ExitStack) -> Part:
    client = Part([sys.executable, "-P", load.__file__, str(port)], log)
    ends.callback(client.stop)
    client.wait_ready()
    return client


def _request(port: int, number: int, key: str) -> str:
    body = json.dumps(
        {
            "model": "nothing",
            "prompt": f"an old lighthouse on a cliff above a calm sea at dawn, oil on canvas, number {number}",
            "negative_prompt": "people, text, watermark",
            "metadata": {"post": str(number), "section": "travel"},
        }
    )
    return (
        f"POST /v1/generate HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    )


def _report(ours: _Service, bare: _Service, plan: Plan) -> Report:
    ratio = Spread.of_ratios([one.per_s for one in ours.crowds], [one.per_s for one in bare.crowds])
    line: dict[str, float | int] = {
        "requests_per_s": round(median(one.per_s for one in ours.crowds)),
        "bare_per_s": round(median(one.per_s for one in bare.crowds)),
        "throughput_ratio": round(ratio.median, 3),
        "latency_p50_ms": round(median(ours.paced_ms), 1),
        "latency_p99_ms": round(_p99(ours.paced_ms), 1),
        "errors": ours.errors + bare.errors,
    }
    details = {
        "seconds": plan.seconds,
        "connections": _CONNECTIONS,
        "bare_http_sha256": hashlib.sha256(Path(bare_http.__file__).read_bytes()).hexdigest(),
        "services": {
            service.name: {
                "crowds": [asdict(one) for one in service.crowds],
                "paced_ms": service.paced_ms,
                "errors": service.errors,
                "wrong": service.wrong,
            }
            for service in (ours, bare)
        },
    }
    bars = {
        f"{line['throughput_ratio']} of the bare service's throughput, at least {_LEAST_RATIO} is wanted": (
            line["throughput_ratio"] >= _LEAST_RATIO
        ),
        f"p50 of {line['latency_p50_ms']} ms, at most {_MOST_P50_MS:g} is wanted": (
            line["latency_p50_ms"] <= _MOST_P50_MS
        ),
        f"p99 of {line['latency_p99_ms']} ms, at most {_MOST_P99_MS:g} is wanted": (
            line["latency_p99_ms"] <= _MOST_P99_MS
        ),
        f"{line['errors']} errors, such as {(ours.wrong + bare.wrong)[:1]}": line["errors"] == 0,
    }
    missed = [what for what, reached in bars.items() if not reached]
    tables = [_crowds(ours, bare, ratio), _paces(ours, bare), _processor(ours, bare)]
    return Report("http", line, tables, details, missed=missed)


def _crowds(ours: _Service, bare: _Service, ratio: Spread) -> Table:
    rows = []
    for service in (ours, bare):
        cells = Spread.of([one.per_s for one in service.crowds]).cells(0)
        rows.append([service.name, *cells, f"{median(one.p50_ms for one in service.crowds):.1f}"])
    rows.append(["ratio", *ratio.cells(2), ""])
    return table_of([f"answers a second, {_CONNECTIONS} connections", "median", "lowest", "highest", "p50 ms"], rows)


def _paces(ours: _Service, bare: _Service) -> Table:
    rows = [
        [one.name, f"{median(one.paced_ms):.1f}", f"{_p99(one.paced_ms):.1f}", f"{max(one.paced_ms):.1f}"]
        for one in (ours, bare)
    ]
    return table_of([f"ms to the answer, at {_PER_S:g} a second", "p50", "p99", "most"], rows)


def _processor(ours: _Service, bare: _Service) -> Table:
    names = [*ours.pids, "client"]
    rows = [
        [one.name, *(f"{median(crowd.cpu_us.get(name, 0.0) for crowd in one.crowds):.0f}" for name in names)]
        for one in (ours, bare)
    ]
    return table_of(["processor time, µs a request", *names], rows)


def _p99(values: Sequence[float]) -> float:
    return quantiles(values, n=100, method="inclusive")[98]
