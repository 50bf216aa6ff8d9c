"""The benches of restore, storm and soak: small runs that end with their lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.ops.cli_process import easel


def line_of(folder: Path, *arguments: str, timeout_s: float) -> dict[str, Any]:
    ended = easel("bench", *arguments, "--json", cwd=folder, timeout_s=timeout_s)
    assert ended.code == 0, ended.err
    found: dict[str, Any] = json.loads(ended.out.splitlines()[-1])
    (path,) = (folder / "bench-results").glob(f"{arguments[0]}-*.json")
    assert json.loads(path.read_text())["result"] == found
    return found


def test_a_restore_says_how_long_and_how_much(tmp_path: Path) -> None:
    line = line_of(tmp_path, "restore", "--requests", "20000", "--rounds", "1", timeout_s=140)
    assert list(line) == ["requests", "remembered_s", "remembered_bytes", "waiting_s", "waiting_bytes", "cores"]
    # 200,000 within ten seconds on a quiet machine; this one may be busy.
    assert 0 < line["remembered_s"] < 5
    # An id and a hash take 200 bytes as they are; what is kept of a request that ended is a few times that.
    assert 200 < line["remembered_bytes"] < 2_000
    assert line["remembered_bytes"] < line["waiting_bytes"] < 8_000


def test_each_bad_request_of_a_storm_becomes_a_dead_letter(tmp_path: Path) -> None:
    line = line_of(tmp_path, "storm", "--forged", "300", "--rounds", "1", timeout_s=140)
    assert list(line) == ["alone_p95_ms", "beside_p95_ms", "p95_ratio", "forged", "forged_per_s", "cores"]
    assert all(value > 0 for value in line.values())


@pytest.mark.system
@pytest.mark.timeout(240)
def test_a_soak_leaves_its_plot(tmp_path: Path) -> None:
    line = line_of(tmp_path, "soak", "--minutes", "0.5", "--per-s", "5", timeout_s=230)
    drifts = [name for name in line if name.endswith("_drift")]
    assert drifts == [
        "latency_drift",
        "admission_memory_drift",
        "worker_memory_drift",
        "ledger_records_drift",
        "ledger_bytes_drift",
    ]
    assert line["requests_per_s"] == 5
    assert (tmp_path / "bench-results" / "soak.svg").stat().st_size > 10_000
