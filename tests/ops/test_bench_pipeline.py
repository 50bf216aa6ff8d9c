"""The bench of everything: it runs, ends with its line, and both loops write the same."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.bench.pipeline.installation import PARTITIONS, Installation
from ops.bench.pipeline.loops import BareLoop, Loop
from ops.bench.pipeline.remembered import remember
from ops.local.stack import Stack
from schemas.settings import Settings
from tests.ops.cli_process import easel
from tests.stack import fresh_name
from transport.tail import read_partition

TOPICS = ("requests", "results", "usage", "jobs.default", "outcomes", "progress", "ledger")


@pytest.fixture
def installation(stack: Stack, tmp_path: Path) -> Iterator[Installation]:
    stack.up("kafka")
    made = Installation(stack.endpoints, fresh_name(), tmp_path / "easel", stored=False)
    yield made
    made.stop()


async def records_of(settings: Settings, prefix: str, topic: str) -> list[tuple[bytes | None, str]]:
    """The key and the type of every record."""
    found = []
    for number in range(PARTITIONS):
        async for batch in read_partition(settings.kafka, f"{prefix}.{topic}", number):
            found += [(record.key, (dict(record.headers).get("ce_type") or b"").decode()) for record in batch]
    return found


def test_both_loops_write_the_same_messages(stack: Stack, tmp_path: Path, installation: Installation) -> None:
    prefix = fresh_name()
    bare = BareLoop(stack, installation, tmp_path / "bare", prefix, stored=False)
    installation.start()
    ours = Loop(stack, installation, tmp_path / "drive")
    try:
        for loop in (bare, ours):
            # One after the other, so that no two share a transaction.
            assert all(ms > 0 for ms in loop.pace(10, per_s=5))
            flood = loop.flood(200)
            assert flood.per_s > 0
            assert {"driver", "admission", "worker", "kafka"} <= set(flood.cpu_us)
    finally:
        ours.stop()
        bare.stop()
    for topic in TOPICS[:-1]:
        counts = [
            Counter(kind for _, kind in asyncio.run(records_of(installation.settings, name, topic)))
            for name in (installation.prefix, prefix)
        ]
        # Our progress has two types for the bare loop's one.
        totals = [found.total() for found in counts]
        assert totals[0] == totals[1] > 0, (topic, counts)
    kept = [
        {key for key, _ in asyncio.run(records_of(installation.settings, name, "ledger"))}
        for name in (installation.prefix, prefix)
    ]
    assert len(kept[0] - {b"__init"}) == len(kept[1])


def test_what_is_remembered_is_restored(stack: Stack, tmp_path: Path, installation: Installation) -> None:
    remember(installation, 400, 1_800_000_000_000)
    installation.start()
    restored = [
        json.loads(line) for line in installation.log("admission").splitlines() if '"event": "restored"' in line
    ]
    assert [one["requests"] for one in restored] == [100] * PARTITIONS


@pytest.mark.system
@pytest.mark.timeout(300)
def test_the_command(tmp_path: Path) -> None:
    options = ("--requests", "60", "--seconds", "1", "--rounds", "1", "--remembered", "400")
    ended = easel("bench", "pipeline", *options, cwd=tmp_path, timeout_s=280)
    assert ended.code == 0, ended.err
    *tables, last = ended.out.splitlines()
    line = json.loads(last)
    assert list(line) == [
        "requests_per_s",
        "bare_per_s",
        "throughput_ratio",
        "latency_p50_ms",
        "latency_p99_ms",
        "latency_p50_ratio",
        "cores",
    ]
    assert all(value > 0 for value in line.values())
    assert any("400 remembered, ratio" in row for row in tables)
    (path,) = (tmp_path / "bench-results").glob("pipeline-*.json")
    found = json.loads(path.read_text())["measurements"]["conditions"]
    assert list(found) == ["empty ledger", "400 remembered", "with the store"]
    assert all(len(one["easel_ms"]) == len(one["bare_ms"]) == 20 for one in found.values())
    assert set(found["with the store"]["easel"][0]["cpu_us"]) == {"driver", "admission", "worker", "kafka", "store"}
