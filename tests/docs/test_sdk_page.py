"""The SDK's page and its example of a service's own tests: all of it runs."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks
from tests.installation import Installation

SNIPPETS = {block.name: block.text for block in blocks("docs/sdk.md") if block.name}

pytestmark = [pytest.mark.system]


def script(folder: Path, name: str) -> list[str]:
    path = folder / f"{name}.py"
    path.write_text(SNIPPETS[name], encoding="utf-8")
    return [sys.executable, str(path)]


def lines_of(process: subprocess.Popen[str], count: int) -> list[str]:
    """The first lines that it prints; it is then told to end, and ends well."""
    assert process.stdout is not None
    with process:
        found = [process.stdout.readline() for _ in range(count)]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    return found


def test_the_snippets(installation: Installation) -> None:
    folder = installation.folder
    lines = installation.run(script(folder, "sdk")).splitlines()
    assert lines[0] == "easel.generation.accepted.v1"
    assert lines[-1].count("outputs/atelier/") == 2

    key, length, _ = installation.run(script(folder, "sdk-sync")).split()
    assert int(length) > 100
    assert key.startswith("outputs/atelier/")

    many = installation.run(script(folder, "sdk-many")).splitlines()
    assert [line.split()[0] for line in many] == [str(number) for number in range(20)]
    assert installation.run(script(folder, "sdk-many")).splitlines() == many

    # 22 requests in all: the second run of the many was the same ones.
    told = lines_of(installation.start(script(folder, "sdk-subscribe")), 22)
    assert {line.split()[1] for line in told} == {"easel.generation.succeeded.v1"}
    ids = {line.split()[0] for line in told}
    assert len(ids) == 22

    killed = installation.start(script(folder, "sdk-exactly-once"))
    assert killed.stdout is not None
    with killed:
        killed.stdout.readline()
        killed.kill()
    subscriber = installation.start(script(folder, "sdk-exactly-once"))
    with subscriber:
        ends = time.monotonic() + 60
        while len(_rows(folder)) < 22 and time.monotonic() < ends:
            time.sleep(0.1)
        subscriber.terminate()
        assert subscriber.wait(60) == 0
    assert set(_rows(folder)) == ids


def _rows(folder: Path) -> list[str]:
    with sqlite3.connect(folder / "gallery.sqlite", timeout=10) as db:
        return [row[0] for row in db.execute("SELECT request_id FROM pictures")]


def test_the_tests_of_a_service(tmp_path: Path) -> None:
    """As a service's own CI has them, with the stack that `easel up` makes."""
    outer = {name: value for name, value in os.environ.items() if not name.startswith(("EASEL_", "PYTEST_"))}
    environment = {
        **outer,
        "EASEL_CLONE": str(ROOT),
        "EASEL_COMMAND": f"{sys.executable} -m ops.cli",
        "EASEL_DATA": str(tmp_path / "easel"),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", "."]
    example = ROOT / "examples" / "ci"
    done = subprocess.run(
        [*command, str(example)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
