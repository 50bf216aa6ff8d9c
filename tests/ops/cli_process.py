"""Runs the command: in this process where nothing is started, else as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

EASEL = (sys.executable, "-m", "ops.cli")
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


def clean_environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without any of easel's settings, and with ``variables``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EASEL_")}
    return {**kept, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "100", **(variables or {})}


def easel(
    *arguments: str,
    cwd: Path,
    variables: Mapping[str, str] | None = None,
    timeout_s: float = 60.0,
    given: str | None = None,
) -> Ended:
    """Run ``easel`` to its end as a process of its own, with ``given`` on its standard input."""
    ended = subprocess.run(
        [*EASEL, *arguments],
        cwd=cwd,
        env=clean_environment(variables),
        capture_output=True,
        input=given,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


@contextmanager
def running(*command: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process of a test's own. Whatever the test says, it and what it has started end, and its pipes are closed."""
    with subprocess.Popen(command, text=True, **options) as process:
        try:
            yield process
        finally:
            with suppress(psutil.NoSuchProcess):
                for one in psutil.Process(process.pid).children(recursive=True):
                    with suppress(psutil.NoSuchProcess):
                        one.kill()
            process.kill()


def still_running(processes: Sequence[psutil.Process]) -> list[str]:
    """The command lines of those that have not ended."""
    _, alive = psutil.wait_procs(processes, timeout=10)
    return [" ".join(process.cmdline()) for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def processes_with(text: str) -> list[psutil.Process]:
    """Processes whose command line or environment names ``text`` (a test's own directory)."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values()]
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(text in word for word in words):
            found.append(process)
    return found
