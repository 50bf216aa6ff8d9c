"""What belongs to one tenant is unknown to every other, on every route that there is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from producer_api.app import create_app
from tests.house import House
from tests.producer_api.conftest import post
from tests.producer_api.support import served, until_ready

OPEN = {"/health", "/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs"}
"""Routes without a key."""


@pytest.fixture
async def http(house: House) -> AsyncIterator[httpx.AsyncClient]:
    house.worker()
    async with served(create_app(house.settings)) as http:
        await until_ready(http)
        yield http


async def ended(http: httpx.AsyncClient, tenant: str) -> dict[str, Any]:
    task: dict[str, Any] = (await post(http, tenant, group="spring")).json()
    async with asyncio.timeout(60):
        while task["state"] != "succeeded":
            await asyncio.sleep(0.05)
            task = (await http.get(f"/v1/tasks/{task['id']}", headers={"X-API-Key": tenant})).json()
    return task


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


async def test_ids_of_others_are_404_on_every_route(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    mine = await ended(http, "acme")
    tried = 0
    for method, path, operation in operations(document):
        names = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"}
        if not names & {"id", "task_id"} or path.startswith("/v1/models"):
            continue
        own = mine["group"] if path.startswith("/v1/groups") else mine["id"]
        url = path.format(**(dict.fromkeys(names, own) | {"index": 0}))
        theirs = await http.request(method, url, headers={"X-API-Key": "slow"})
        assert theirs.status_code == 404, (method, path, theirs.text)
        if method == "GET":
            assert (await http.get(url, headers={"X-API-Key": "acme"})).status_code != 404, "nobody has it"
        tried += 1
    assert tried >= 4
    # None of that did anything to it.
    url = f"/v1/tasks/{mine['id']}"
    assert (await http.get(url, headers={"X-API-Key": "acme"})).json()["state"] == "succeeded"
    assert (await http.get(f"{url}/images/0", headers={"X-API-Key": "acme"})).status_code == 200


async def test_every_other_route_asks_for_a_key(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    for method, path, operation in operations(document):
        if path in OPEN or path.endswith("token") or "/token/" in path:
            assert not operation.get("security")
            continue
        names = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"}
        answer = await http.request(method, path.format(**dict.fromkeys(names, "1")))
        assert answer.status_code == 401, (method, path)
        assert answer.headers["www-authenticate"]
