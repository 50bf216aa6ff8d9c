"""The stack of the demo: new each time, in a directory of its own, where what it starts is recorded."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ops.cli.devfiles import environment, make_tenants, sdk_environment
from ops.cli.installation import write_env
from ops.cli.material import make_key, write_private
from ops.cli.services import Services
from ops.demo.plan import TENANTS
from ops.local.cache import Report
from ops.local.stack import PART_NAMES, Stack
from schemas.settings import Settings

__all__ = ["DemoStack"]

_PARTITIONS = 4
_PASSED_ON = frozenset({"EASEL_GENERATION_ENGINE", "EASEL_NULL_STEP_S", "EASEL_TRACEBACK"})
"""Variables of the caller that the demo heeds. Any other may speak of another installation."""
_LEFT_OVERS = ("kafka", "store", "keys", "logs")
_LEFT_OVER_FILES = ("tenants.yaml", "env", "api.sqlite", "api.sqlite-wal", "api.sqlite-shm")


class DemoStack:
    """Kafka, the store and the services of one demo."""

    def __init__(self, directory: Path, report: Report) -> None:
        self.directory = directory
        self.services = Services(directory)
        self._report = report
        self._stack = self._fresh()

    def up(self, models: Path) -> Settings:
        """Stop and forget what an earlier demo left, start a new Kafka and store, and make tenants and keys.

        The settings of all that are also those of this process's environment from now on. Raises ``LocalStackError``.
        """
        self.clear()
        endpoints = self._stack.up()
        make_tenants(self.directory, TENANTS)
        write_private(self.forged_key, make_key("ES256").private)
        variables = environment(self.directory, endpoints, models=models, partitions=_PARTITIONS)
        variables |= sdk_environment(self.directory, TENANTS[0])
        write_env(self.directory / "env", variables)
        for name in [name for name in os.environ if name.startswith("EASEL_") and name not in _PASSED_ON]:
            del os.environ[name]
        os.environ.update(variables)
        return Settings()

    def clear(self) -> None:
        """Stop and forget what an earlier demo left; of one that still runs it says so first."""
        if self.services.running() or any(self._stack.pid(part) for part in PART_NAMES):
            self._report("stopping the demo that was kept running")
        self.down()
        for name in _LEFT_OVERS:
            shutil.rmtree(self.directory / name, ignore_errors=True)
        for name in _LEFT_OVER_FILES:
            (self.directory / name).unlink(missing_ok=True)
        # Ports and the store's key pair went with the old directories, and are made anew with this object.
        self._stack = self._fresh()

    def down(self) -> None:
        """Stop everything that was started in the directory, by whomever. Its data stays."""
        self.services.stop()
        self._stack.down()

    def _fresh(self) -> Stack:
        return Stack(self.directory, store_fallback=True, report=self._report)

    @property
    def forged_key(self) -> Path:
        """A private key that is not the one of any tenant."""
        return self.directory / "keys" / "forged.key"

    def api_key(self, tenant: str) -> str:
        """A tenant's key for the HTTP API."""
        return (self.directory / "keys" / f"{tenant}.api-key").read_text(encoding="utf-8").strip()
