"""The HTTP API on the real broker and store, with the test in admission's place."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from ops.local.stack import Stack
from producer_api.app import create_app
from schemas.connection import KafkaSettings
from schemas.settings import Settings
from tests.house import House
from tests.producer_api.support import (
    ISSUER_SECRET,
    Announcer,
    Installation,
    install,
    make_topics,
    served,
    until_ready,
)
from tests.producer_api.whole import Whole, whole

PER_MINUTE = 5
TENANTS = ("acme", "slow", "barred")


@dataclass(frozen=True)
class Api:
    """A running API, a client of it, and who answers for admission."""

    app: FastAPI
    http: httpx.AsyncClient
    installation: Installation
    announcer: Announcer

    async def until(self, id_: str, state: str) -> dict[str, Any]:
        """The task, once it is in ``state``."""
        async with asyncio.timeout(10):
            while True:
                answer = await self.http.get(f"/v1/tasks/{id_}", headers=self.installation.headers())
                if answer.status_code == 200 and answer.json()["state"] == state:
                    return dict(answer.json())
                await asyncio.sleep(0.02)


@pytest.fixture
async def announcer(kafka: KafkaSettings) -> AsyncIterator[Announcer]:
    await make_topics(kafka)
    async with Announcer(kafka) as announcer:
        yield announcer


@pytest.fixture
async def api(settings: Settings, announcer: Announcer, tmp_path: Path) -> AsyncIterator[Api]:
    installation = install(settings, tmp_path)
    app = create_app(installation.settings)
    async with served(app) as http:
        await until_ready(http)
        yield Api(app, http, installation, announcer)


def add_http(house: House, secret: Path) -> None:
    """A key for HTTP for each tenant (its own name), the API as an issuer, and what each test needs of limits."""
    file = json.loads(house.settings.tenants.read_text())
    for tenant in file["tenants"]:
        tenant["api_keys"] = [{"id": tenant["id"], "sha256": hashlib.sha256(tenant["id"].encode()).hexdigest()}]
        if tenant["id"] == "slow":
            tenant["limits"] = {"requests_per_minute": PER_MINUTE, "burst": 1}
        if tenant["id"] == "barred":
            tenant["status"] = "suspended"
    key = {"kid": "easel-api-1", "alg": "HS256", "secret_file": str(secret)}
    file["issuers"] = [{"id": "easel-api", "tenants": "*", "keys": [key]}]
    file["version"] = 2
    house.settings.tenants.write_text(json.dumps(file))


@pytest.fixture(scope="package")
def whole_house(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    """An installation in processes of its own, for clients that others have written."""
    with whole(stack, tmp_path_factory.mktemp("whole"), EASEL_API_OPENAI_WAIT_S="4") as running:
        yield running


@pytest.fixture
async def house(settings: Settings, tmp_path: Path) -> AsyncIterator[House]:
    """A real admission, three tenants, and what the API needs to speak for them."""
    (tmp_path / "http").mkdir()
    api = install(settings, tmp_path / "http").settings.api
    house = await House.build(settings.model_copy(update={"api": api}), tmp_path, tenants=TENANTS)
    (tmp_path / "api.secret").write_text(ISSUER_SECRET)
    add_http(house, tmp_path / "api.secret")
    await house.admission().ready()
    yield house
    house.close()


@pytest.fixture
async def http(house: House) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API beside it; a tenant's key is its name."""
    async with served(create_app(house.settings)) as http:
        await until_ready(http)
        yield http


async def post(
    http: httpx.AsyncClient, tenant: str = "acme", *, id_: str | None = None, **fields: Any
) -> httpx.Response:
    """Ask for a picture."""
    headers = {"X-API-Key": tenant} | ({"Easel-Request-Id": id_} if id_ else {})
    body = {"prompt": "a red circle", "model": "nothing", **fields}
    return await http.post("/v1/generate", json=body, headers=headers)
