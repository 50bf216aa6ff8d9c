"""Whole runs: the product holds, and each planted bug is found."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from ops.chaos.run import Chaos, Course
from ops.chaos.schedule import Kind
from ops.chaos.verify import Verdict
from tests.ops.cli_process import easel, processes_with, still_running

SEED = 5
PLANTED = (
    ("commit_before_send", [Kind("admission", "kill")], {"missing"}),
    ("no_fence", [Kind("admission", "stop")], {"doubled"}),
    ("settle_twice", [Kind("worker", "kill"), Kind("worker", "stop")], {"doubled", "units"}),
)


@pytest.mark.system
@pytest.mark.timeout(420)
def test_a_minute_of_everything(tmp_path: Path) -> None:
    ended = easel("chaos", "--seconds", "60", "--seed", str(SEED), "--json", cwd=tmp_path, timeout_s=400)
    assert ended.code == 0, ended.out + ended.err
    (line,) = ended.out.splitlines()
    numbers = json.loads(line)
    assert [numbers[name] for name in ("missing", "doubled", "units_off", "outputs_bad")] == [0, 0, 0, 0]
    assert numbers["accepted"] == numbers["terminal"] > 500
    answered = sum(numbers[name] for name in ("accepted", "rejected", "duplicates", "dead_lettered"))
    assert numbers["sent"] == answered
    assert min(numbers[name] for name in ("duplicates", "rejected", "dead_lettered", "cancels")) > 10
    assert min(numbers[name] for name in ("kills", "stops", "broker_restarts")) > 0
    assert still_running(processes_with(str(tmp_path))) == []
    assert list((tmp_path / ".easel" / "chaos").iterdir()) == []


@pytest.mark.system
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("bug", "kinds", "rules"), PLANTED, ids=[bug for bug, _, _ in PLANTED])
async def test_a_planted_bug_is_found(bug: str, kinds: Sequence[Kind], rules: set[str], tmp_path: Path) -> None:
    course = Course(
        SEED,
        22.0,
        kinds=kinds,
        admission=(sys.executable, "-m", "tests.chaos.planted", bug),
        quiet_s=10.0,
        settle_s=60.0,
    )
    run = Chaos(course, tmp_path, print)
    try:
        verdict: Verdict = await run.run()
    finally:
        run.close()
    assert rules <= {violation.rule for violation in verdict.violations}
