"""The process: it serves until it is told to stop, ends cleanly, and says in one line why it can't start."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from ops.local.ports import free_port
from producer_api.__main__ import EXIT_CONFIGURATION
from producer_api.server import run_api
from producer_api.services import StartupError
from schemas.connection import KafkaSettings, StoreSettings
from schemas.settings import Settings
from tests.ops.cli_process import running
from tests.producer_api.support import ISSUER_SECRET, Installation, install


@pytest.fixture
def alone(tmp_path: Path) -> Installation:
    """An installation whose Kafka and store are away."""
    away = Settings(kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1"), store=StoreSettings(endpoint="127.0.0.1:1"))
    return install(away, tmp_path)


async def test_it_serves_until_it_is_told_to_stop(alone: Installation) -> None:
    port = free_port()
    api = alone.settings.api.model_copy(update={"port": port})
    stop = asyncio.Event()
    serving = asyncio.create_task(run_api(alone.settings.model_copy(update={"api": api}), stop=stop))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http, asyncio.timeout(20):
        while True:
            try:
                assert (await http.get("/health/live")).status_code == 200
                break
            except httpx.TransportError:
                await asyncio.sleep(0.05)
    stop.set()
    await asyncio.wait_for(serving, 20)
    with socket.create_server(("127.0.0.1", port)):
        pass


async def test_a_port_that_is_taken_is_said(alone: Installation) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        api = alone.settings.api.model_copy(update={"port": taken.getsockname()[1]})
        with pytest.raises(StartupError, match="EASEL_API_PORT"):
            await run_api(alone.settings.model_copy(update={"api": api}))


def environment(installation: Installation, port: int) -> dict[str, str]:
    folder = installation.settings.tenants.parent
    return {
        **os.environ,
        "EASEL_TENANTS": str(installation.settings.tenants),
        "EASEL_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "EASEL_API_PORT": str(port),
        "EASEL_API_STATE_FILE": str(folder / "api.sqlite"),
        "EASEL_API_SIGNING_KEY_FILE": str(folder / "api.secret"),
    }


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_process_ends_cleanly_when_asked(alone: Installation, number: signal.Signals) -> None:
    port = free_port()
    command = (sys.executable, "-m", "producer_api")
    with running(*command, env=environment(alone, port), stderr=subprocess.PIPE) as process:
        ends_at = time.monotonic() + 30
        while True:
            try:
                assert httpx.get(f"http://127.0.0.1:{port}/health/live").json() == {"status": "live"}
                break
            except httpx.TransportError:
                assert process.poll() is None
                assert time.monotonic() < ends_at
                time.sleep(0.1)
        process.send_signal(number)
        _, log = process.communicate(timeout=30)
    assert process.returncode == 0, log
    assert "Traceback" not in log
    assert ISSUER_SECRET not in log


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"EASEL_API_SIGNING_KEY_FILE": ""}, "EASEL_API_SIGNING_KEY_FILE"),
        ({"EASEL_API_PORT": "many"}, "EASEL_API_PORT"),
        ({"EASEL_KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "EASEL_KAFKA_PASSWORD": "hidden"}, "EASEL_KAFKA"),
        ({"EASEL_TENANTS": "/nowhere/tenants.yaml"}, "/nowhere/tenants.yaml"),
    ],
)
def test_what_keeps_it_from_starting_is_one_line(alone: Installation, wrong: dict[str, str], said: str) -> None:
    env = {**environment(alone, 0), **wrong}
    ended = subprocess.run([sys.executable, "-m", "producer_api"], env=env, capture_output=True, text=True, timeout=60)
    assert ended.returncode == EXIT_CONFIGURATION
    assert said in ended.stderr
    assert "hidden" not in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
