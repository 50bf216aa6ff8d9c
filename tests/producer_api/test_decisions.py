"""The SDK and the HTTP API beside the real admission: each answer is what it decided."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from producer_api import Client, RequestRejected
from producer_api.app import create_app
from schemas.errors import Code
from schemas.events import Duplicate
from schemas.ids import new_id
from schemas.settings import Settings
from tests.house import House
from tests.producer_api.support import ISSUER_SECRET, install, served, until_ready
from tests.producer_api.test_generate import one_shape

pytestmark = [pytest.mark.system]

PER_MINUTE = 5
TENANTS = ("acme", "slow", "barred")


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


@pytest.fixture
async def house(settings: Settings, tmp_path: Path) -> AsyncIterator[House]:
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
    async with served(create_app(house.settings)) as http:
        await until_ready(http)
        yield http


async def post(
    http: httpx.AsyncClient, tenant: str = "acme", *, id_: str | None = None, **fields: Any
) -> httpx.Response:
    headers = {"X-API-Key": tenant} | ({"Easel-Request-Id": id_} if id_ else {})
    body = {"prompt": "a red circle", "model": "nothing", **fields}
    return await http.post("/v1/generate", json=body, headers=headers)


async def test_http_answers_what_admission_decided(http: httpx.AsyncClient) -> None:
    taken = await post(http, images=2, metadata={"post": "1"})
    assert taken.status_code == 202, taken.text
    assert taken.json()["state"] == "accepted"
    assert taken.json()["cost_milliunits"] > 0

    one_shape(await post(http, model="missing"), 404, Code.MODEL_NOT_FOUND, "model")
    one_shape(await post(http, "barred"), 403, Code.TENANT_SUSPENDED)
    limited = await post(http, width=8000)
    assert limited.status_code == 400
    assert limited.json()["error"]["param"] == "width"

    id_ = new_id()
    first, again = await post(http, id_=id_), await post(http, id_=id_)
    assert [answer.status_code for answer in (first, again)] == [202, 202]
    assert first.json()["cost_milliunits"] == again.json()["cost_milliunits"]
    other = await post(http, id_=id_, prompt="a blue square")
    assert other.status_code == 409
    assert other.json()["error"]["code"] == Code.ID_CONFLICT

    assert (await post(http, "slow")).status_code == 202
    refused = await post(http, "slow")
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == Code.RATE_LIMITED
    assert 1 <= int(refused.headers["retry-after"]) <= 60 // PER_MINUTE


async def test_the_sdk_hears_what_admission_decided(house: House) -> None:
    async with Client(tenant="acme", signer=house.signer("acme"), kafka=house.settings.kafka) as client:
        handles = [await client.submit("a red circle", model="nothing") for _ in range(5)]
        decisions = await asyncio.gather(*(handle.decision(timeout_s=10) for handle in handles))
        assert [decision.TYPE for decision in decisions] == ["easel.generation.accepted.v1"] * 5
        again = await client.submit("a red circle", model="nothing", request_id=handles[0].request_id)
        assert isinstance(await again.decision(timeout_s=10), Duplicate)
        with pytest.raises(RequestRejected) as refused:
            await (await client.submit("a red circle", model="missing")).result(timeout_s=10)
        assert refused.value.error.code == Code.MODEL_NOT_FOUND


async def test_http_shows_pictures_that_generation_made(house: House, http: httpx.AsyncClient) -> None:
    await house.worker().ready()
    task = (await post(http, images=2)).json()
    headers = {"X-API-Key": "acme"}
    async with asyncio.timeout(60):
        while (task := (await http.get(task["links"]["self"], headers=headers)).json())["state"] != "succeeded":
            assert task["state"] in {"accepted", "running"}, task
            await asyncio.sleep(0.05)
    assert len(task["outputs"]) == 2
    for image in task["outputs"]:
        picture = await http.get(image["url"], headers=headers)
        assert hashlib.sha256(picture.content).hexdigest() == image["sha256"]
        assert picture.headers["content-type"] == image["media_type"]
    await house.require_balance()
