"""Detached processes that a later process can find again, and never mistake for another's."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

_SAME_START_S = 2.0
_EXEC_LIMIT_S = 5.0
_EXEC_POLL_S = 0.002


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """What identifies a process beyond its pid, which the system gives to another one after its end."""

    pid: int
    started: float
    """Seconds since the epoch."""
    command: tuple[str, ...]

    def find(self) -> psutil.Process | None:
        """The process, if it still runs."""
        try:
            process = psutil.Process(self.pid)
            with process.oneshot():
                same = (
                    # The start is derived from the wall clock, which may have been set meanwhile.
                    abs(process.create_time() - self.started) < _SAME_START_S
                    and tuple(process.cmdline()) == self.command
                    and process.status() != psutil.STATUS_ZOMBIE
                )
        except psutil.NoSuchProcess:
            return None
        return process if same else None

    def stop(self, *, hard: bool = False, limit_s: float = 15.0) -> None:
        """End the process and wait until it is gone: by SIGTERM, and SIGKILL after `limit_s`; by SIGKILL if `hard`."""
        process = self.find()
        if process is None:
            return
        try:
            if not hard:
                process.terminate()
                try:
                    process.wait(limit_s)
                    return
                except psutil.TimeoutExpired:
                    pass
            process.kill()
            process.wait(limit_s)
        except psutil.NoSuchProcess:
            return

    def save(self, path: Path) -> None:
        """Write to `path`, whole or not at all."""
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asdict(self)))
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> ProcessRecord | None:
        """Read what `save` wrote; None if there is nothing."""
        try:
            data = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        return cls(pid=int(data["pid"]), started=float(data["started"]), command=tuple(data["command"]))


def start_detached(command: Sequence[str], environment: Mapping[str, str], log: Path) -> ProcessRecord:
    """Start `command` in a session of its own, so that Ctrl-C and a closed terminal leave it alone.

    Its output is appended to `log`, which only its owner can read. `command[0]` is an absolute path.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    # Not Popen: it wants to outlive its child, and warns when it doesn't.
    pid = os.posix_spawn(
        command[0],
        list(command),
        dict(environment),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGPIPE],
        setsigmask=[],
    )
    try:
        process = psutil.Process(pid)
        record = ProcessRecord(pid, process.create_time(), tuple(command))
        # The spawn returns in the middle of exec, when the process has no command line yet.
        deadline = time.monotonic() + _EXEC_LIMIT_S
        while not process.cmdline() and time.monotonic() < deadline:
            time.sleep(_EXEC_POLL_S)
    except psutil.NoSuchProcess:
        return ProcessRecord(pid, time.time(), tuple(command))
    return record


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, for an error message; empty if there is none."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""


def said_since(log: Path, begin: int) -> str:
    """What a log holds from a byte on, of which at most a mebibyte; empty if there is none."""
    try:
        with log.open("rb") as file:
            file.seek(begin)
            return file.read(1024 * 1024).decode(errors="replace")
    except FileNotFoundError:
        return ""
