"""easel's own processes, detached, for a stack that outlives the command that started it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ops.cli.terminal import CommandError, ExitCode
from ops.local.process import ProcessRecord, start_detached, tail

__all__ = ["MODULES", "Services"]

MODULES = {
    "admission": "consumer.admission",
    "worker": "consumer.generation",
    "webhooks": "consumer.webhooks",
    "api": "producer_api",
}
"""Service → the module that is it."""

_STOP_LIMIT_S = 10.0


class Services:
    """The services of one data directory: a log and a record for each, so that a later command finds and stops them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def start(self, name: str, variables: Mapping[str, str]) -> None:
        """Start one of ``MODULES`` with these settings over this process's environment."""
        command = [sys.executable, "-m", MODULES[name]]
        record = start_detached(command, {**os.environ, **variables}, self.log(name))
        path = self._record(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        record.save(path)

    def require_running(self) -> None:
        """Raises ``CommandError`` with the end of its log when a service that was started has ended."""
        for name in MODULES:
            record = ProcessRecord.load(self._record(name))
            if record is not None and record.find() is None:
                raise CommandError(
                    f"{name} ended by itself; its log {self.log(name)} ends with:\n{tail(self.log(name))}",
                    code=ExitCode.SETUP,
                )

    def running(self) -> list[str]:
        """The names of those that run."""
        return [name for name, record in self._records().items() if record.find()]

    def stop(self) -> list[str]:
        """End those that run and wait until they are gone. Returns their names."""
        records = self._records()
        running = [name for name, record in records.items() if record.find()]
        deadline = time.monotonic() + _STOP_LIMIT_S
        with ThreadPoolExecutor(max_workers=len(MODULES)) as pool:
            list(pool.map(lambda name: records[name].stop(limit_s=max(0.1, deadline - time.monotonic())), running))
        for name in records:
            self._record(name).unlink(missing_ok=True)
        return running

    def log(self, name: str) -> Path:
        """Where the output of a service goes."""
        return self._directory / "logs" / f"{name}.log"

    def _records(self) -> dict[str, ProcessRecord]:
        return {name: record for name in MODULES if (record := ProcessRecord.load(self._record(name)))}

    def _record(self, name: str) -> Path:
        return self._directory / "run" / f"{name}.json"
