"""The bench of streams: each reader is told all, in order, also those that did not read for a while."""

from __future__ import annotations

import pytest

from ops.bench.report import BenchError
from ops.bench.sse.bench import Plan, _in_order, bench_sse
from ops.bench.sse.readers import Reader, Readers


def test_hundreds_of_readers_are_told_all_and_memory_stays() -> None:
    told: list[tuple[int, int]] = []
    report = bench_sse(Plan(streams=300, rounds=4), lambda done, total: told.append((done, total)))
    line = report.line
    assert list(line) == [
        "streams",
        "delivered",
        "kib_per_stream",
        "growth_mib",
        "cpu_us_per_event",
        "delay_p50_ms",
        "delay_p99_ms",
    ]
    assert (line["streams"], line["delivered"], report.missed) == (300, 300, [])
    assert 0 < line["kib_per_stream"] < 200
    assert 0 < line["delay_p50_ms"] <= line["delay_p99_ms"]
    assert line["cpu_us_per_event"] > 0
    assert told[-1] == (4, 4)


@pytest.mark.parametrize(
    ("ids", "right"),
    [
        (["0-0", "1-1", "1-3", "end"], True),
        (["0-0", "end"], True),
        (["0-0", "1-1", "1-1", "end"], False),
        (["0-0", "1-2", "1-1", "end"], False),
        (["0-0", "1-1", "end", "end"], False),
    ],
)
def test_what_is_told_twice_or_backwards_is_seen(ids: list[str], right: bool) -> None:
    assert _in_order(ids) is right


async def test_a_reader_that_is_told_nothing_is_an_error() -> None:
    readers = Readers(1, [Reader(b"", slow=False)])
    with pytest.raises(BenchError, match="0 of 1 readers were told 1-1"):
        await readers.told("1-1", 0.05)
