"""Cancel, delete, price and keys, from the SDK and over HTTP to the real admission, a real worker, and back."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from producer_api import Client, GenerationCanceled, NotCanceled, NotDeleted, RequestRejected
from schemas.errors import Code
from schemas.ids import new_id
from tests.house import House
from tests.producer_api.conftest import post
from tests.producer_api.test_generate import one_shape
from transport.errors import NotFound
from transport.objects import ObjectStore

pytestmark = [pytest.mark.system]

SLOW = {"EASEL_NULL_STEP_S": "0.2"}
KEY = {"X-API-Key": "acme"}


def client_of(house: House, tenant: str = "acme") -> Client:
    return Client(tenant=tenant, signer=house.signer(tenant), kafka=house.settings.kafka)


async def task_in(http: httpx.AsyncClient, id_: str, state: str) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            answer = await http.get(f"/v1/tasks/{id_}", headers=KEY)
            if answer.status_code == 200 and answer.json()["state"] == state:
                return dict(answer.json())
            await asyncio.sleep(0.05)


async def test_the_sdk_stops_what_waits_and_what_runs(house: House) -> None:
    async with client_of(house) as client:
        waits = await client.submit("a red circle", model="nothing")
        assert (await waits.decision(timeout_s=10)).request_id == waits.request_id
        # Nobody runs yet: it waits in admission, or has left for the fleet that will come.
        assert (await waits.cancel(timeout_s=10)).state in {"queued", "dispatched"}

        await house.worker(**SLOW).ready()
        with pytest.raises(GenerationCanceled):
            await waits.result(timeout_s=30)
        runs = await client.submit("a red circle", model="nothing", steps=100, width=256, height=256)
        async for event in runs.events():
            if event.TYPE.endswith("step.v1"):
                break
        assert (await runs.cancel(timeout_s=10)).state == "running"
        with pytest.raises(GenerationCanceled) as canceled:
            await runs.result(timeout_s=30)
        cost = canceled.value.event.cost_milliunits
        assert 0 < cost < canceled.value.event.refunded_milliunits
        with pytest.raises(NotCanceled) as late:
            await runs.cancel(timeout_s=10)
        assert (late.value.error.code, late.value.event.state) == (Code.ALREADY_ENDED, "canceled")
        assert (await client.cancel(new_id(), timeout_s=10)).state == "unknown"
    async with client_of(house, "slow") as other:
        # Another tenant's request is nobody's.
        assert (await other.cancel(runs.request_id, timeout_s=10)).state == "unknown"
    await house.require_balance()


async def test_the_sdk_deletes_what_has_ended(house: House) -> None:
    async with client_of(house) as client, ObjectStore(house.settings.store) as store:
        handle = await client.submit("a red circle", model="nothing")
        await handle.decision(timeout_s=10)
        with pytest.raises(NotDeleted) as early:
            await client.delete(handle.request_id, timeout_s=10)
        assert early.value.error.code == Code.NOT_ENDED
        await house.worker().ready()
        done = await handle.result(timeout_s=60)
        assert await store.get(done.outputs[0].key)
        assert (await client.delete(handle.request_id, timeout_s=30)).objects == len(done.outputs) + 1
        for key in (done.outputs[0].key, done.manifest):
            with pytest.raises(NotFound):
                await store.get(key)
        with pytest.raises(NotDeleted) as unknown:
            await client.delete(new_id(), timeout_s=10)
        assert unknown.value.error.code == Code.NOT_FOUND
    await house.require_balance()


async def test_a_price_is_what_it_costs_and_holds_nothing(house: House) -> None:
    async with client_of(house) as client, client_of(house, "slow") as slow, client_of(house, "barred") as barred:
        priced = await client.price("a red circle", model="nothing", images=3, timeout_s=10)
        assert (priced.acceptable, priced.error) == (True, None)
        handle = await client.submit("a red circle", model="nothing", images=3)
        decision = await handle.decision(timeout_s=10)
        assert getattr(decision, "cost_milliunits", None) == priced.cost_milliunits
        # As often as one likes: it takes no token. Once the one token is gone, the price says when there is another.
        for _ in range(3):
            assert (await slow.price("a red circle", model="nothing", timeout_s=10)).acceptable
        await (await slow.submit("a red circle", model="nothing")).decision(timeout_s=10)
        limited = await slow.price("a red circle", model="nothing", timeout_s=10)
        assert limited.error is not None
        assert (limited.acceptable, limited.error.code) == (False, Code.RATE_LIMITED)
        assert limited.retry_after_s is not None
        suspended = await barred.price("a red circle", model="nothing", timeout_s=10)
        assert suspended.error is not None
        assert suspended.error.code == Code.TENANT_SUSPENDED
        with pytest.raises(RequestRejected) as unknown:
            await client.price("a red circle", model="missing", timeout_s=10)
        assert unknown.value.error.code == Code.MODEL_NOT_FOUND


async def test_a_key_makes_one_request_of_several(house: House) -> None:
    await house.worker().ready()
    async with client_of(house) as client:
        first = await client.submit("a red circle", model="nothing", idempotency_key="order-7")
        done = await first.result(timeout_s=60)
    async with client_of(house) as later:
        again = await later.submit("a red circle", model="nothing", idempotency_key="order-7")
        assert await again.result(timeout_s=30) == done
        assert again.request_id == first.request_id
        other = await later.submit("a blue square", model="nothing", idempotency_key="order-7")
        with pytest.raises(RequestRejected) as conflict:
            await other.result(timeout_s=10)
        assert conflict.value.error.code == Code.IDEMPOTENCY_CONFLICT
    await house.require_balance()


async def test_a_picture_that_was_made_is_not_made_again(house: House) -> None:
    await house.worker().ready()
    async with client_of(house) as client, ObjectStore(house.settings.store) as store:
        first = await (await client.submit("a red circle", model="nothing", seed=7, images=2)).result(timeout_s=60)
        async with asyncio.timeout(30):
            # Until the worker has said which weights it has: about a second.
            while True:
                if (await client.price("a red circle", model="nothing", seed=7, images=2, timeout_s=10)).cached:
                    break
                await asyncio.sleep(0.1)
        again = await (await client.submit("a red circle", model="nothing", seed=7, images=2)).result(timeout_s=30)
        assert (again.cached, again.outputs, again.manifest) == (True, first.outputs, first.manifest)
        assert again.request_id != first.request_id
        assert again.cost_milliunits == 0
        assert await store.get(again.outputs[1].key)
        assert (await client.delete(first.request_id, timeout_s=30)).objects == 3
        anew = await (await client.submit("a red circle", model="nothing", seed=7, images=2)).result(timeout_s=60)
        assert (anew.cached, [one.seed for one in anew.outputs]) == (False, [7, 8])
        assert await store.get(anew.outputs[0].key)
    await house.require_balance()


async def test_all_of_it_over_http(house: House, http: httpx.AsyncClient) -> None:
    priced = await post(http, dry_run=True)
    assert (priced.status_code, priced.json()["acceptable"]) == (200, True)

    body = {"prompt": "a red circle", "model": "nothing"}
    keyed = {**KEY, "Idempotency-Key": "order-7"}
    first, again = [await http.post("/v1/generate", json=body, headers=keyed) for _ in range(2)]
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["id"] == again.json()["id"]
    assert first.json()["cost_milliunits"] == priced.json()["cost_milliunits"]
    conflict = await http.post("/v1/generate", json={**body, "images": 2}, headers=keyed)
    one_shape(conflict, 422, Code.IDEMPOTENCY_CONFLICT, "ce_idempotencykey")

    id_ = first.json()["id"]
    one_shape(await http.delete(f"/v1/tasks/{id_}/outputs", headers=KEY), 409, Code.NOT_ENDED, "request_id")
    one_shape(await http.delete(f"/v1/tasks/{id_}", headers={"X-API-Key": "slow"}), 404, Code.NOT_FOUND, "id")
    one_shape(await http.delete(f"/v1/tasks/{new_id()}", headers=KEY), 404, Code.NOT_FOUND, "id")
    stopping = await http.delete(f"/v1/tasks/{id_}", headers=KEY)
    assert stopping.status_code == 202, stopping.text
    await house.worker().ready()
    ended = await task_in(http, id_, "canceled")
    assert ended["refunded_milliunits"] == priced.json()["cost_milliunits"]
    one_shape(await http.delete(f"/v1/tasks/{id_}", headers=KEY), 409, Code.ALREADY_ENDED, "request_id")

    made = (await post(http)).json()["id"]
    await task_in(http, made, "succeeded")
    async with asyncio.timeout(30):
        while (gone := await http.delete(f"/v1/tasks/{made}/outputs", headers=KEY)).status_code != 200:
            assert gone.status_code == 202, gone.text
    one_shape(await http.get(f"/v1/tasks/{made}/images/0", headers=KEY), 410, Code.NOT_FOUND, "id")
    await house.require_balance()
