"""Whole runs: the product holds, and each planted bug is found."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from ops.chaos.members import Stage
from ops.chaos.run import Chaos, Course
from ops.chaos.schedule import Kind
from tests.ops.cli_process import easel, processes_with, still_running

SEED = 6
PLANTED: dict[str, tuple[list[Kind], dict[Stage, str], set[str]]] = {
    "commit_before_send": ([Kind("admission", "kill")], {"admission": "commit_before_send"}, {"missing"}),
    "no_fence": ([Kind("admission", "stop")], {"admission": "no_fence"}, {"doubled"}),
    "settle_twice": (
        [Kind("worker", "kill")],
        {"admission": "settle_twice", "worker": "repeats"},
        {"doubled", "units"},
    ),
    "dry_run_holds": ([Kind("worker", "kill")], {"admission": "dry_run_holds"}, {"units"}),
    "forgets_suspension": ([Kind("tenants", "suspend")], {"admission": "forgets_suspension"}, {"rules"}),
    "delete_keeps": ([Kind("worker", "kill")], {"worker": "delete_keeps"}, {"output"}),
    "nothing but repetitions": ([Kind("worker", "kill")], {"worker": "repeats"}, set()),
}


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
@pytest.mark.parametrize("name", PLANTED)
async def test_a_planted_bug_is_found(name: str, tmp_path: Path) -> None:
    kinds, planted, rules = PLANTED[name]
    commands = {stage: (sys.executable, "-m", "tests.chaos.planted", plant) for stage, plant in planted.items()}
    run = Chaos(Course(SEED, 20.0, kinds=kinds, commands=commands, quiet_s=15.0, settle_s=60.0), tmp_path, print)
    try:
        verdict = await run.run()
    finally:
        run.close()
    found = {violation.rule for violation in verdict.violations}
    assert rules <= found if rules else not found, verdict.violations
