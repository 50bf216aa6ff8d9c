"""Makes what the other targets need: the virtual environment, Kafka's jars and MinIO.

Runs under the system's Python, before anything is installed, so it uses the standard library alone. What it made is
keyed by a hash: a second run only looks.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from ops.local.errors import LocalStackError
from ops.local.minio import GO_REMEDY, built_minio, has_go

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOGS = ROOT / ".easel" / "logs"
EXTRAS = "service,api,worker,local,tracing,dev"

_PYTHON = VENV / "bin" / "python"
_STAMP = VENV / ".easel-setup"
_REPORT_EVERY_S = 20.0
_LIMIT_S = 3600.0


@dataclass
class Step:
    """One piece of work that runs in a process of its own, with a log."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    started: float
    done: bool = False

    @classmethod
    def start(cls, name: str, *command: str | Path) -> Step:
        log = LOGS / f"setup-{name.replace(' ', '-').lower()}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(part) for part in command],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # so that it can be ended with all that it started
            )
        return cls(name, process, log, time.monotonic())

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.started

    def end(self) -> None:
        """End it and its children, if it still runs."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait()

    def failure(self) -> LocalStackError:
        end = "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
        return LocalStackError(f"{self.name} failed after {self.elapsed_s:.0f} s; {self.log} ends with:\n{end}")


def main() -> int:
    """Bring everything up to date; returns the exit code."""
    try:
        _set_up()
    except LocalStackError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("setup: interrupted; `make setup` goes on from here", file=sys.stderr)
        return 130
    return 0


def _set_up() -> None:
    key = _key()
    fresh = not (_STAMP.exists() and _STAMP.read_text() == key)
    builds_minio = built_minio() is None and has_go()
    if not fresh and not builds_minio:
        return

    started = time.monotonic()
    LOGS.mkdir(parents=True, exist_ok=True)
    running: list[Step] = []
    try:
        if builds_minio:
            _say("MinIO: building from source, once per user (2 to 3 minutes)")
            running.append(Step.start("MinIO", sys.executable, "-m", "ops.local.minio"))
        elif built_minio() is None:
            _say(f"MinIO: skipped, for want of Go; rclone will do for the demo, not for tests: {GO_REMEDY}")
        if fresh:
            _make_environment()
            _say("Python packages: installing (2 to 5 minutes the first time: PyTorch is large)")
            running.append(_install())
            _await(running[-1])
            _say("Kafka: fetching its jars, once per user")
            running.append(Step.start("Kafka", _PYTHON, "-m", "ops.local.kafka_jars"))
        for step in reversed(running):
            _await(step)
    finally:
        for step in running:
            step.end()
    if fresh:
        _STAMP.write_text(key)
    _say(f"ready in {time.monotonic() - started:.0f} s")


def _make_environment() -> None:
    if _PYTHON.exists() and _right_python():
        return
    shutil.rmtree(VENV, ignore_errors=True)
    made = subprocess.run([sys.executable, "-m", "venv", VENV], check=False, capture_output=True, text=True)
    if made.returncode != 0:
        raise LocalStackError(
            f"`{sys.executable} -m venv` failed: install your system's venv package (Debian: apt install python3-venv)."
            f"\n{made.stdout}{made.stderr}"
        )


def _install() -> Step:
    # Not compiled: most modules of the model libraries are never imported, and the cores are busy with MinIO.
    pip = (_PYTHON, "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--no-compile")
    return Step.start("Python packages", *pip, "-c", ROOT / "constraints.txt", "-e", f"{ROOT}[{EXTRAS}]")


def _await(step: Step) -> None:
    """Wait for the end of `step`, with a word now and then; at once if it was waited for before."""
    if step.done:
        return
    while step.process.poll() is None:
        if step.elapsed_s > _LIMIT_S:
            raise LocalStackError(f"{step.name}: not done within {_LIMIT_S / 60:.0f} minutes; see {step.log}")
        try:
            step.process.wait(_REPORT_EVERY_S)
        except subprocess.TimeoutExpired:
            _say(f"{step.name}: still at it ({step.elapsed_s:.0f} s)")
    if step.process.returncode != 0:
        raise step.failure()
    step.done = True
    _say(f"{step.name}: done ({step.elapsed_s:.0f} s)")


def _right_python() -> bool:
    """Whether the environment that is there was made by this very Python version."""
    config = (VENV / "pyvenv.cfg").read_text() if (VENV / "pyvenv.cfg").exists() else ""
    return f"version = {sys.version.split()[0]}" in config


def _key() -> str:
    """What the environment depends on: the dependencies, their pins, the Python, and where the clone lies."""
    digest = hashlib.sha256()
    for part in (
        (ROOT / "pyproject.toml").read_bytes(),
        (ROOT / "constraints.txt").read_bytes(),
        sys.version.encode(),
        os.fsencode(ROOT),
    ):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def _say(line: str) -> None:
    print(f"setup: {line}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
