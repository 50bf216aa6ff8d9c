"""The processes of a loop: started with a log of their own, asked in lines of JSON, and their processor time."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import psutil

from ops.bench.report import BenchError

__all__ = ["Part", "cpu_seconds", "resident_mib"]

_READY_S = 60.0
_STOP_S = 15.0
_LAST_WORDS_CHARS = 2_000


class Part:
    """One process. ``health``: the port on which it says that it is ready; without one, it says so in a first line."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        health: int | None = None,
    ) -> None:
        self._log = log
        self._health = health
        kept = {name: value for name, value in os.environ.items() if not name.startswith("EASEL_")}
        with log.open("ab") as words:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if health is None else words,
                stderr=words,
                env={**kept, **(environment or {})},
                # A Ctrl-C at the terminal is for us, who end it.
                process_group=0,
            )

    @property
    def port(self) -> int:
        """Where it answers over HTTP. Raises ``BenchError``."""
        if self._health is None:
            raise BenchError("this part has no port; this is a defect")
        return self._health

    def wait_ready(self) -> None:
        """Wait until it says so. Raises ``BenchError``."""
        if self._health is None:
            self.answer(_READY_S)
            return
        deadline = time.monotonic() + _READY_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise self._ended()
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{self._health}/health/ready", timeout=2.0).status_code == 200:
                    return
            time.sleep(0.05)
        raise BenchError(f"not ready within {_READY_S:g} s; the end of {self._log}:\n{self.last_words()}")

    def metric(self, name: str) -> float:
        """What a service's metric comes to, over all of its labels. Raises ``BenchError``."""
        try:
            answer = httpx.get(f"http://127.0.0.1:{self._health}/metrics", timeout=10.0)
        except httpx.TransportError as error:
            raise BenchError(f"no metrics: {error!r}; the end of {self._log}:\n{self.last_words()}") from None
        lines = (line.rpartition(" ") for line in answer.text.splitlines())
        return sum(float(value) for series, _, value in lines if series.partition("{")[0] == name)

    def ask(self, question: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
        """Its answer to a line of JSON. Raises ``BenchError``."""
        if self.process.stdin is None:
            raise BenchError("this part is not one to ask; this is a defect")
        try:
            self.process.stdin.write(json.dumps(question).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            raise self._ended() from None
        return self.answer(limit_s)

    def answer(self, limit_s: float) -> dict[str, Any]:
        """Its next line. Raises ``BenchError``."""
        output = self.process.stdout
        if output is None:
            raise BenchError("this part answers nothing; this is a defect")
        readable, _, _ = select.select([output], [], [], limit_s)
        if not readable:
            raise BenchError(f"no answer within {limit_s:g} s; the end of {self._log}:\n{self.last_words()}")
        line = output.readline()
        if not line:
            raise self._ended()
        found: dict[str, Any] = json.loads(line)
        return found

    def last_words(self) -> str:
        """The end of its log."""
        return self._log.read_text(encoding="utf-8", errors="replace").strip()[-_LAST_WORDS_CHARS:]

    def stop(self) -> None:
        """End it, by SIGKILL where SIGTERM doesn't do."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(_STOP_S)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _ended(self) -> BenchError:
        return BenchError(f"a part of the loop has ended; the end of {self._log}:\n{self.last_words()}")


def cpu_seconds(pid: int, *, children: bool = True) -> float:
    """Processor time of a process, and of the ``children`` that it has, so far."""
    family = _family(pid)
    return sum(_cpu(process) for process in (family if children else family[:1]))


def resident_mib(pid: int) -> float:
    """Memory that a process and its children hold, in MiB."""
    total = 0
    for process in _family(pid):
        with contextlib.suppress(psutil.Error):
            total += process.memory_info().rss
    return total / 2**20


def _family(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def _cpu(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)
