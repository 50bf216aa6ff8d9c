"""Several processes in one terminal: they end together, and nothing of them stays."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import psutil
from rich.console import Console

from ops.stage import readable
from tests.ops.cli_process import clean_environment, running, still_running

STAGE = """
import asyncio, sys
from rich.console import Console
from ops.stage import StageProcess, run_stage
names = sys.argv[2:]
processes = [StageProcess(name, [sys.executable, "-u", "-c", code]) for name, code in zip(names[::2], names[1::2])]
sys.exit(asyncio.run(run_stage(processes, Console(width=200), grace_s=float(sys.argv[1]))))
"""
WAITS = "import time; print('up', flush=True); time.sleep(600)"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + WAITS
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {DEAF!r}]); " + WAITS


def stage(tmp_path: Path, grace_s: float, *processes: str) -> AbstractContextManager[subprocess.Popen[str]]:
    command = (sys.executable, "-u", "-c", STAGE, str(grace_s), *processes)
    return running(*command, cwd=tmp_path, env=clean_environment(), stdout=subprocess.PIPE)


def when_up(process: subprocess.Popen[str], lines: int) -> list[psutil.Process]:
    """Its descendants, once so many of them have said that they are up."""
    assert process.stdout is not None
    while lines:
        line = process.stdout.readline()
        assert line, "ended before it was up"
        lines -= line.rstrip().endswith("up")
    return psutil.Process(process.pid).children(recursive=True)


def test_an_interrupt_ends_all(tmp_path: Path) -> None:
    with stage(tmp_path, 10, "one", WAITS, "another", WAITS) as process:
        children = when_up(process, 2)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert len(children) == 2
    assert still_running(children) == []


def test_one_that_ends_by_itself_ends_the_others(tmp_path: Path) -> None:
    with stage(tmp_path, 10, "one", WAITS, "other", "print('sorry'); raise SystemExit(7)") as process:
        out, _ = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "other │ sorry" in out
    assert "other ended with 7" in out


def test_those_that_do_not_listen_are_killed_with_their_children(tmp_path: Path) -> None:
    with stage(tmp_path, 0.5, "deaf", DEAF, "parent", PARENT) as process:
        children = when_up(process, 3)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 1
    assert len(children) == 3
    assert still_running(children) == []


def test_a_second_interrupt_kills_at_once(tmp_path: Path) -> None:
    with stage(tmp_path, 60, "deaf", DEAF) as process:
        children = when_up(process, 1)
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert any("once more to kill" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 1
    assert still_running(children) == []


def test_log_lines_are_made_readable() -> None:
    line = {"event": "restored", "level": "info", "timestamp": "2026-11-21T08:49:25.1Z", "stage": "x", "partition": 2}
    assert readable(json.dumps(line)).plain == "08:49:25 restored  partition=2"
    for text in ("no JSON", "[1, 2]", '{"no": "event"}', ""):
        assert readable(text).plain == text


def test_markup_in_a_log_line_is_text(tmp_path: Path) -> None:
    console = Console(width=100, record=True, file=(tmp_path / "out").open("w"))
    console.print(readable('{"event": "[bold]x[/bold]"}'))
    console.file.close()
    assert "[bold]x[/bold]" in console.export_text()
