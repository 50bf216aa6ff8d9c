"""The processes of the installation: started, harmed, and started again, as a supervisor would."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import psutil

from ops.cli.services import MODULES

__all__ = ["Member", "Stage", "supervise"]

Stage = Literal["admission", "worker"]

_TERM_LIMIT_S = 20.0
_POLL_S = 0.1
_EXIT_CONFIGURATION = 78


@dataclass
class Member:
    """One process of admission, or one worker with its engine."""

    stage: Stage
    number: int
    environment: Mapping[str, str] = field(repr=False)
    log: Path
    command: Sequence[str] = ()
    """Empty: the service itself."""
    instance: str | None = None
    """The name that it keeps over restarts, if it has one."""
    problems: list[str] = field(default_factory=list)
    """Ends that must never be, and those of which none was asked for."""
    down: bool = False
    """It was ended on purpose, and is to be left alone."""
    _process: subprocess.Popen[bytes] | None = None

    def __str__(self) -> str:
        return f"{self.stage} {self.number}"

    @property
    def pid(self) -> int:
        return 0 if self._process is None else self._process.pid

    def start(self) -> None:
        """Begin, or begin anew: never twice, for a name that it keeps may belong to one process alone."""
        if self._process is not None and self._process.poll() is None:
            raise RuntimeError(f"{self} runs already")
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C reaches this process, which ends that one and whatever it started.
            self._process = subprocess.Popen(
                [*(self.command or (sys.executable, "-m", MODULES[self.stage]))],
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.down = False

    def kill(self) -> None:
        """SIGKILL. Its engine is left to find out by itself."""
        self.down = True
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    async def end(self) -> None:
        """SIGTERM, and wait for its end; one that does not come is a problem."""
        self.down = True
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + _TERM_LIMIT_S
        while self._process is not None and self._process.poll() is None:
            if time.monotonic() > deadline:
                self.problems.append(f"{self} did not end within {_TERM_LIMIT_S:.0f} s of SIGTERM: see {self.log.name}")
                self.kill()
            await asyncio.sleep(_POLL_S)

    def pause(self) -> None:
        """SIGSTOP."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def kill_engine(self) -> bool:
        """SIGKILL to the engine's process, as the system does when memory is short. False when it has none now."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.pid).children():
                child.kill()
                return True
        return False

    def destroy(self) -> None:
        """Leave nothing of it running, nor of what it started."""
        self.down = True
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def ended_by_itself(self) -> int | None:
        """Its exit status, if it has ended and nobody asked for that."""
        return None if self.down or self._process is None else self._process.poll()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)


async def supervise(members: Sequence[Member], tell: Callable[[str], None]) -> None:
    """Start again what ends by itself, until cancelled. An end that says that a person is needed is a problem."""
    while True:
        await asyncio.sleep(_POLL_S)
        for member in members:
            code = member.ended_by_itself()
            if code is None:
                continue
            tell(f"{member} ended by itself with {code}: started again")
            if code == _EXIT_CONFIGURATION:
                member.problems.append(f"{member} ended with {code}, which asks for a person: see {member.log.name}")
            member.start()
