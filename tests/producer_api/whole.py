"""A whole installation for the programs of others: admission, a worker without a model, and the API, as processes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from ops.local.ports import free_port
from ops.local.stack import Stack
from producer_api.login.passwords import hashed
from schemas.settings import Settings
from tests.consumer.generation.harness import environment
from tests.house import TERMINAL, House
from tests.producer_api.support import ISSUER_SECRET
from tests.stack import kafka_settings, store_settings
from transport.objects import ObjectStore

SLOW = ("slow-python", "slow-node", "slow-classic")
TENANTS = ("acme", *SLOW)
USER, PASSWORD = "anna", "correct horse"
MODELS: dict[str, Any] = {
    "version": 1,
    "aliases": {"gpt-image-2": "nothing"},
    "models": {
        "nothing": {
            "pipeline": ".",
            "engine": "null",
            "kinds": ["text_to_image", "image_to_image", "inpainting"],
            "previews_every": 4,
            "max_batch_images": 8,
            "defaults": {"width": 64, "height": 64, "steps": 4},
            "styles": {"vivid": {"prompt_suffix": "in vivid colours"}},
        }
    },
}


@dataclass(frozen=True)
class Whole:
    """Where the API answers; a tenant's key is its name. Of a tenant in ``SLOW`` one request a minute is taken."""

    url: str
    log: Path
    house: House

    def get(self, path: str, tenant: str = "acme") -> httpx.Response:
        return httpx.get(f"{self.url}{path}", headers={"X-API-Key": tenant}, timeout=20)

    def ends(self, who: str, within_s: float = 30.0) -> list[dict[str, Any]]:
        """How the requests ended whose metadata says ``who``, once there is one."""

        async def found() -> list[dict[str, Any]]:
            def of(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
                return [one for one in results if one["kind"] in TERMINAL and one.get("metadata", {}).get("who") == who]

            return of(await self.house.until(lambda results: bool(of(results)), within_s=within_s))

        return asyncio.run(found())


@contextmanager
def whole(stack: Stack, folder: Path, **api: str) -> Iterator[Whole]:
    """It runs until the block ends. ``api``: more settings of the API, by their variables."""
    stack.up()
    settings = Settings(kafka=kafka_settings(stack), store=store_settings(stack))
    house = asyncio.run(_built(settings, folder))
    port = free_port()
    log = folder / "api.log"
    try:
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "producer_api"],
                env={**_environment(house, folder), "EASEL_API_PORT": str(port), **api},
                stdout=out,
                stderr=out,
            )
        try:
            asyncio.run(_ready(house))
            _until_ready(f"http://127.0.0.1:{port}", log)
            yield Whole(f"http://127.0.0.1:{port}", log, house)
        finally:
            process.terminate()
            process.wait(20)
    finally:
        house.close()


async def _built(settings: Settings, folder: Path) -> House:
    async with ObjectStore(settings.store) as objects:
        await objects.ensure_bucket()
    (folder / "models.yaml").write_text(json.dumps(MODELS))
    (folder / "api.secret").write_text(ISSUER_SECRET)
    (folder / "users.yaml").write_text(
        json.dumps({"users": [{"user": USER, "tenant": "acme", "password": hashed(PASSWORD)}]})
    )
    house = await House.build(settings, folder, tenants=TENANTS, models=folder / "models.yaml")
    file = json.loads(house.settings.tenants.read_text())
    for tenant in file["tenants"]:
        tenant["api_keys"] = [{"id": tenant["id"], "sha256": hashlib.sha256(tenant["id"].encode()).hexdigest()}]
        if tenant["id"] in SLOW:
            tenant["limits"] = {"requests_per_minute": 1, "burst": 1}
    key = {"kid": "easel-api-1", "alg": "HS256", "secret_file": str(folder / "api.secret")}
    file["issuers"] = [{"id": "easel-api", "tenants": "*", "keys": [key]}]
    house.settings.tenants.write_text(json.dumps({**file, "version": 2}))
    return house


async def _ready(house: House) -> None:
    admission, worker = house.admission(), house.worker(EASEL_NULL_STEP_S="0.05")
    await asyncio.gather(admission.ready(), worker.ready())


def _environment(house: House, folder: Path) -> Mapping[str, str]:
    outer = {name: value for name, value in os.environ.items() if not name.startswith("EASEL_")}
    return {
        **outer,
        **environment(house.settings, 0),
        "EASEL_TENANTS": str(house.settings.tenants),
        "EASEL_API_SIGNING_KEY_FILE": str(folder / "api.secret"),
        "EASEL_API_STATE_FILE": str(folder / "api.sqlite"),
        "EASEL_API_USERS_FILE": str(folder / "users.yaml"),
        "EASEL_API_TOKEN_SECRET": "0123456789" * 4,
    }


def _until_ready(url: str, log: Path) -> None:
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        try:
            if httpx.get(f"{url}/health/ready", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(log.read_text()[-6000:])
