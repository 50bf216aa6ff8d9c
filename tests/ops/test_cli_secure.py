"""`easel up --secure` and all that runs on it, as a newcomer sees it."""

from __future__ import annotations

import json
import os
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from ops.cli.acls import acls
from ops.cli.installation import read_env, write_env
from ops.cli.terminal import CommandError, ExitCode
from ops.local.errors import LocalStackError
from ops.local.ports import free_port
from ops.local.stack import Stack
from tests.ops.cli_process import EASEL, REPOSITORY, clean_environment, easel, processes_with, running, still_running

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

READY_S = 90.0
SDK = """
import asyncio
from producer_api import Client

async def main():
    async with Client.from_env() as client:
        handle = await client.submit("a small red circle on a white background", model="easel-tiny")
        print((await handle.result()).outputs[0].key)

asyncio.run(main())
"""
LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which a secure stack is up."""
    folder = tmp_path_factory.mktemp("secure")
    (folder / "models.yaml").write_text((REPOSITORY / "models.yaml").read_text())
    ports = ("API_PORT", "ADMISSION_HEALTH_PORT", "GENERATION_HEALTH_PORT", "WEBHOOKS_HEALTH_PORT")
    write_env(folder / ".easel" / "env", {f"EASEL_{name}": str(free_port()) for name in ports})
    try:
        ended = easel("up", "--secure", "--json", cwd=folder, timeout_s=240)
        assert ended.code == 0, ended.err
        assert json.loads(ended.out)["users"] == [
            *("admission", "worker", "webhooks", "api", "billing", "operator"),
            *("tenant.atelier", "tenant.bureau", "tenant.canvas"),
        ]
        yield folder
    finally:
        down = easel("down", cwd=folder)
    assert down.code == 0, down.err
    assert still_running(processes_with(str(folder))) == []


@pytest.fixture(scope="module")
def all_running(here: Path) -> Iterator[subprocess.Popen[str]]:
    made = easel("topics", cwd=here)
    assert made.code == 0, made.err
    with (
        (here / "all.log").open("w") as log,
        running(
            *EASEL, "all", cwd=here, env=clean_environment({"EASEL_GENERATION_ENGINE": "null"}), stdout=log, stderr=log
        ) as process,
    ):
        ends_at = time.monotonic() + READY_S
        while easel("status", cwd=here).code != ExitCode.OK:
            assert process.poll() is None, (here / "all.log").read_text()
            assert time.monotonic() < ends_at, (here / "all.log").read_text()
            time.sleep(0.5)
        yield process


def test_nothing_listens_beyond_this_machine(here: Path) -> None:
    servers = [one for one in processes_with(str(here)) if Path(one.exe()).name in {"java", "minio"}]
    assert len(servers) == 2
    listening = [c.laddr for one in servers for c in one.net_connections() if c.status == psutil.CONN_LISTEN]
    assert len(listening) >= 4
    assert {address.ip for address in listening} <= LOOPBACK


def test_each_secret_is_a_file_for_its_owner_alone(here: Path) -> None:
    data = here / ".easel"
    secrets = [*(data / "users").iterdir(), *(data / "tls").glob("*.key"), data / "tls" / "broker-keystore.pem"]
    assert len(secrets) > 20
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}
    contents = {path.read_text().strip() for path in (data / "users").glob("*.password")}
    assert len(contents) == 9
    told = "".join(path.read_text() for path in data.glob("env*"))
    assert not any(secret in told for secret in contents)
    found = json.loads(easel("doctor", "--json", cwd=here).out)
    assert [check["state"] for check in found if check["name"] == "keys"] == ["ok"]


def test_a_directory_that_was_secure_stays_so(here: Path) -> None:
    again = easel("up", "--json", cwd=here)
    assert again.code == 0, again.err
    assert json.loads(again.out)["users"]
    assert read_env(here / ".easel" / "env")["EASEL_KAFKA_SECURITY_PROTOCOL"] == "SASL_SSL"


def test_a_plain_stack_is_not_made_secure_while_it_runs(stack: Stack) -> None:
    stack.up("store")
    with pytest.raises(LocalStackError, match="`easel down` first"):
        Stack(stack.log("store").parents[1], secure=True)


def test_a_tenants_own_user_gets_its_pictures(here: Path, all_running: subprocess.Popen[str]) -> None:
    (here / "sdk.py").write_text(SDK)
    tenant = read_env(here / ".easel" / "env.tenant.atelier")
    ended = subprocess.run(
        [sys.executable, "sdk.py"],
        cwd=here,
        env=clean_environment(tenant),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("outputs/atelier/")
    asked = easel("submit", "a blue star", "--json", "--out", "out", cwd=here, variables=tenant)
    assert asked.code == 0, asked.err
    assert len(json.loads(asked.out)["files"]) == 1
    # What others are told is not for it.
    watched = easel("watch", "--since", "all", "--count", "1", cwd=here, variables=tenant)
    assert (watched.code, watched.out) == (ExitCode.SETUP, "")
    assert "this user may not read easel.results" in watched.err


def test_the_operator_and_the_api_do_their_work(here: Path, all_running: subprocess.Popen[str]) -> None:
    assert easel("submit", "a red circle", "--json", "--out", "out", cwd=here).code == 0
    assert easel("usage", "--json", cwd=here).code == 0
    port = read_env(here / ".easel" / "env")["EASEL_API_PORT"]
    key = (here / ".easel" / "keys" / "canvas.api-key").read_text().strip()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {key}"}) as client:
        task = client.post("/v1/generate", json={"prompt": "a green square", "model": "easel-tiny"}).json()
        ends_at = time.monotonic() + 60
        while task["state"] != "succeeded" and time.monotonic() < ends_at:
            time.sleep(0.2)
            task = client.get(f"/v1/tasks/{task['id']}").json()
        assert task["state"] == "succeeded", task
        assert client.get(f"/v1/tasks/{task['id']}/images/0").content.startswith(b"\x89PNG")
    # The link leads to the store itself, and is signed by the API's own key there.
    trusted = ssl.create_default_context(cafile=str(here / ".easel" / "tls" / "ca.pem"))
    assert httpx.get(task["outputs"][0]["url"], verify=trusted).content.startswith(b"\x89PNG")


def test_rights_are_printed_given_and_taken(here: Path) -> None:
    lines = easel("topics", "acls", "worker", "--user", "worker-2", cwd=here).out.splitlines()
    assert all("--allow-principal User:worker-2 " in line for line in lines)
    assert not any("--operation Write" in line and "easel.results" in line for line in lines)
    given = easel("topics", "acls", "worker", "--user", "worker-2", "--apply", cwd=here)
    assert (given.code, given.err.strip()) == (0, "given to worker-2")
    taken = easel("topics", "acls", "worker", "--user", "worker-2", "--revoke", cwd=here)
    assert (taken.code, taken.err.strip()) == (0, "taken from worker-2")
    everybody = json.loads(easel("topics", "acls", "--json", cwd=here).out)
    assert {"publisher", "tenant.atelier", "operator"} <= {one["user"] for one in everybody}


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"role": "nobody"}, "there is no role 'nobody'"),
        ({"role": "subscriber"}, "whose subscriber"),
        ({"user": "a"}, "no role"),
        ({"role": "worker", "apply": True, "revoke": True}, "--apply and --revoke"),
    ],
)
def test_what_can_not_be_meant_is_said(
    here: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], why: str
) -> None:
    monkeypatch.setattr(os, "environ", clean_environment({"EASEL_DATA": str(here / ".easel")}))
    with pytest.raises(CommandError, match=why) as refused:
        acls(**given)
    assert refused.value.code == ExitCode.USAGE
