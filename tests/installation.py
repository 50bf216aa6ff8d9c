"""An installation as `easel up`, `easel topics` and `easel all` make it, and what a user's terminal has set."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from ops.cli.devfiles import DEV_TENANTS, DevTenant, environment, make_tenants, sdk_environment
from ops.local.ports import free_port
from ops.local.stack import Stack
from schemas.connection import StoreSettings
from tests.stack import PARTITIONS, fresh_name, store_settings
from transport.objects import ObjectStore

ROOT = Path(__file__).parents[1]

_START_LIMIT_S = 60.0
_END_LIMIT_S = 20.0
_PORTS = {"admission": "ADMISSION_HEALTH_PORT", "worker": "GENERATION_HEALTH_PORT", "api": "API_PORT"}


@dataclass(frozen=True)
class Installation:
    """Services that run, and what a reader's terminal has set."""

    folder: Path
    environment: dict[str, str]
    store: StoreSettings

    def run(self, command: list[str], *, limit_s: float = 60.0) -> str:
        """What a command writes to standard output. It must end well."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=limit_s
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, command: list[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, text=True)


@contextmanager
def installed(
    stack: Stack,
    folder: Path,
    *,
    tenants: Sequence[DevTenant] = DEV_TENANTS,
    partitions: int = PARTITIONS,
    services: Sequence[str] = ("admission", "worker", "api"),
) -> Iterator[Installation]:
    """The services of an installation, ready; the terminal is that of the first tenant."""
    stack.up()
    data = folder / ".easel"
    make_tenants(data, tenants)
    store = store_settings(stack)
    asyncio.run(_make_bucket(store))
    easel = {
        **environment(data, stack.endpoints, models=ROOT / "models.yaml", kept={}, partitions=partitions),
        **sdk_environment(data, tenants[0]),
        "EASEL_KAFKA_PREFIX": fresh_name(),
        "EASEL_STORE_BUCKET": store.bucket,
        "EASEL_GENERATION_ENGINE": "null",
        **{f"EASEL_{port}": str(free_port()) for port in _PORTS.values()},
    }
    outer = {name: value for name, value in os.environ.items() if not name.startswith("EASEL_")}
    made = Installation(folder, {**outer, **easel, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}, store)
    made.run([sys.executable, "-m", "ops.cli", "topics"])
    log = (folder / "services.log").open("w")
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "ops.cli", name], cwd=folder, env=made.environment, stdout=log, stderr=log
        )
        for name in services
    ]
    try:
        for name in services:
            _wait_until_ready(int(easel[f"EASEL_{_PORTS[name]}"]), folder / "services.log")
        yield made
    finally:
        for service in running:
            service.terminate()
        for service in running:
            try:
                service.wait(_END_LIMIT_S)
            except subprocess.TimeoutExpired:
                service.kill()
                service.wait()
        log.close()


def _wait_until_ready(port: int, log: Path) -> None:
    ends = time.monotonic() + _START_LIMIT_S
    said = "nothing"
    while time.monotonic() < ends:
        try:
            answer = httpx.get(f"http://127.0.0.1:{port}/health/ready", timeout=2)
        except httpx.HTTPError as error:
            said = str(error)
        else:
            if answer.status_code == 200:
                return
            said = answer.text
        time.sleep(0.2)
    pytest.fail(f"port {port} was not ready: {said}\n{log.read_text()[-3000:]}")


async def _make_bucket(settings: StoreSettings) -> None:
    async with ObjectStore(settings) as objects:
        await objects.ensure_bucket()
