"""``python -m consumer.<name>`` as a process of its own, and what a test does to it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx
import psutil

__all__ = ["Stage"]


@dataclass
class Stage:
    """One process of an installation. ``port``: where it tells its health."""

    name: str
    log: Path
    port: int
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    module: str | None = None
    """``consumer.<name>`` when absent."""

    def start(self) -> Self:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module or f"consumer.{self.name}"],
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def child(self) -> psutil.Process:
        """The engine's process, of a worker."""
        (child,) = psutil.Process(self.pid).children()
        return child

    async def ready(self, within_s: float = 60.0) -> Self:
        await self.until(lambda: self.get("/health/ready")[0] == 200, within_s, f"{self.name} is not ready")
        return self

    def get(self, path: str) -> tuple[int, str]:
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=2.0)
        except httpx.TransportError as error:
            return 0, repr(error)
        return answer.status_code, answer.text

    def metric(self, name: str) -> float:
        """The sum of a metric's series."""
        lines = [line for line in self.get("/metrics")[1].splitlines() if line.startswith((f"{name}{{", f"{name} "))]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    async def ended(self, within_s: float = 40.0) -> int:
        """Its exit status."""
        assert self.process is not None
        process = self.process
        await self.until(lambda: process.poll() is not None, within_s, f"{self.name} did not end")
        assert process.returncode is not None
        return process.returncode

    async def until(self, condition: Callable[[], bool], within_s: float, otherwise: str) -> None:
        deadline = time.monotonic() + within_s
        while not await asyncio.to_thread(condition):
            if time.monotonic() > deadline:
                raise AssertionError(f"{otherwise}:\n{self.log.read_text()[-6000:]}")
            await asyncio.sleep(0.05)

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
        if self.process is not None:
            self.process.wait(10)
