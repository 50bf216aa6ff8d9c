"""The SDK and the HTTP API beside the real admission: each answer is what it decided."""

from __future__ import annotations

import asyncio
import hashlib

import httpx
import pytest

from producer_api import Client, RequestRejected
from schemas.errors import Code
from schemas.events import Duplicate
from schemas.ids import new_id
from tests.house import House
from tests.producer_api.conftest import PER_MINUTE, post
from tests.producer_api.test_generate import one_shape

pytestmark = [pytest.mark.system]


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
        picture = await http.get(image["path"], headers=headers)
        assert hashlib.sha256(picture.content).hexdigest() == image["sha256"]
        assert picture.headers["content-type"] == image["media_type"]
    await house.require_balance()
