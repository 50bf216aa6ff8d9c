"""A stack of one's own, as a newcomer makes it: up, topics, all, submit, watch, usage, down."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from PIL import Image

from ops.cli.installation import write_env
from ops.cli.terminal import ExitCode
from ops.local.ports import free_port
from tests.ops.cli_process import EASEL, REPOSITORY, clean_environment, easel, processes_with, running, still_running

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

NULL = {"EASEL_GENERATION_ENGINE": "null"}
READY_S = 60.0


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which a stack is up; afterwards nothing that was started for it runs."""
    folder = tmp_path_factory.mktemp("newcomer")
    (folder / "models.yaml").write_text((REPOSITORY / "models.yaml").read_text())
    # Ports that are kept from an earlier time: the usual ones may be another test's at any moment.
    ports = ("API_PORT", "ADMISSION_HEALTH_PORT", "GENERATION_HEALTH_PORT", "WEBHOOKS_HEALTH_PORT")
    write_env(folder / ".easel" / "env", {f"EASEL_{name}": str(free_port()) for name in ports})
    try:
        ended = easel("up", cwd=folder, timeout_s=240)
        assert ended.code == 0, ended.err
        yield folder
    finally:
        down = easel("down", cwd=folder)
    assert down.code == 0, down.err
    assert still_running(processes_with(str(folder))) == []


@pytest.fixture(scope="module")
def all_running(here: Path) -> Iterator[subprocess.Popen[str]]:
    """`easel all`, ready."""
    made = easel("topics", cwd=here)
    assert made.code == 0, made.err
    with (
        (here / "all.log").open("w") as log,
        running(*EASEL, "all", cwd=here, env=clean_environment(NULL), stdout=log, stderr=log) as process,
    ):
        ends_at = time.monotonic() + READY_S
        while easel("status", cwd=here).code != ExitCode.OK:
            assert process.poll() is None, (here / "all.log").read_text()
            assert time.monotonic() < ends_at, (here / "all.log").read_text()
            time.sleep(0.5)
        yield process


def test_pictures_come_and_are_accounted_for(here: Path, all_running: subprocess.Popen[str]) -> None:
    asked = easel("submit", "a red circle", "a [bold] star", "--images", "2", "--out", "out", "--json", cwd=here)
    assert asked.code == 0, asked.err
    answers = [json.loads(line) for line in asked.out.splitlines()]
    assert {answer["prompt"] for answer in answers} == {"a red circle", "a [bold] star"}
    cost = 0
    for answer in answers:
        assert answer["error"] is None
        assert len(answer["files"]) == 2
        cost += answer["succeeded"]["cost_milliunits"]
        for name, output in zip(answer["files"], answer["succeeded"]["outputs"], strict=True):
            content = (here / name).read_bytes()
            assert hashlib.sha256(content).hexdigest() == output["sha256"]
            with Image.open(here / name) as picture:
                assert picture.size == (96, 96)

    watched = easel("watch", "--since", "all", "--count", "4", "--json", cwd=here)
    types = sorted(json.loads(line)["type"].split(".")[-2] for line in watched.out.splitlines())
    assert types == ["accepted", "accepted", "succeeded", "succeeded"]

    used = easel("usage", "--json", "--tenant", "atelier", cwd=here)
    assert used.code == 0
    accounts = [json.loads(line) for line in used.out.splitlines()]
    assert len(accounts) == 2
    names = [f"{name}_milliunits" for name in ("held", "settled", "refunded", "outstanding")]
    assert all([account[name] for name in names] == [cost, cost, 0, 0] for account in accounts)
    assert {account["requests"] for account in accounts} == {2}
    assert "atelier" in easel("usage", cwd=here).out


def test_a_refusal_is_one_line_and_an_exit_code(here: Path, all_running: subprocess.Popen[str]) -> None:
    refused = easel("submit", "a red circle", "--model", "no-such", "--tenant", "bureau", cwd=here)
    assert refused.code == ExitCode.FAILED
    assert refused.out == ""
    named, line = refused.err.splitlines()
    assert named.startswith("a red circle: request ")
    assert line.startswith("a red circle: model_not_found: ")


def test_ctrl_c_leaves_nothing_running(here: Path, all_running: subprocess.Popen[str]) -> None:
    children = psutil.Process(all_running.pid).children(recursive=True)
    # The four services, and the worker's engine.
    assert len(children) >= 5
    all_running.send_signal(signal.SIGINT)
    assert all_running.wait(40) == 0, (here / "all.log").read_text()
    assert still_running(children) == []
    assert easel("status", cwd=here).code == ExitCode.UNAVAILABLE
    states = {line["part"]: line["state"] for line in json.loads(easel("status", "--json", cwd=here).out)}
    assert states == {
        "kafka": "running",
        "store": "running",
        **dict.fromkeys(("admission", "worker", "webhooks", "api"), "stopped"),
    }
