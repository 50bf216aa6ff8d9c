"""The client without an event loop, and downloads, on a whole installation."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import threading

import pytest

from producer_api import (
    Client,
    ConfigurationError,
    NotCanceled,
    PictureDamaged,
    Received,
    ResultGone,
    Submission,
    SyncClient,
    Unreachable,
)
from producer_api.sdk.download import open_store
from schemas.connection import StoreSettings
from schemas.requests import GenerationRequest
from tests.house import House
from transport.objects import ObjectStore

pytestmark = [pytest.mark.system]

REQUEST = GenerationRequest(prompt="a red circle", model="nothing")


@pytest.fixture
async def house(house: House) -> House:
    await house.worker().ready()
    return house


def client_of(house: House, tenant: str = "acme") -> Client:
    return Client(tenant=tenant, signer=house.signer(tenant), kafka=house.settings.kafka, store=house.settings.store)


async def test_all_of_it_without_an_event_loop(house: House) -> None:
    await asyncio.to_thread(_as_a_script, SyncClient(client_of(house)))
    await house.require_balance()


def _as_a_script(easel: SyncClient) -> None:
    with easel:
        handle = easel.submit("a red circle", model="nothing", images=2)
        assert [event.TYPE.split(".")[2] for event in handle.events()][-1] == "succeeded"
        done = handle.result(timeout_s=30)
        assert handle.done
        assert easel.result(handle.request_id, timeout_s=30) == done
        assert list(easel.events(handle.request_id))[-1] == done
        pictures = [easel.download(output) for output in done.outputs]
        assert [hashlib.sha256(one).hexdigest() for one in pictures] == [output.sha256 for output in done.outputs]

        price = easel.price("a red circle", model="nothing")
        many = [one.result(timeout_s=30) for one in easel.submit_many(Submission(REQUEST) for _ in range(5))]
        assert [one.cost_milliunits for one in many] == [price.cost_milliunits] * 5
        charged = sum(entry.milliunits for entry in easel.usage() if entry.TYPE == "easel.usage.settled.v1")
        assert charged == sum(one.cost_milliunits for one in (done, *many))

        with pytest.raises(NotCanceled):
            easel.cancel(handle.request_id)
        assert easel.delete(handle.request_id).objects == 3
        with pytest.raises(ResultGone):
            easel.download(done.outputs[0])

        got: list[str] = []
        enough = threading.Event()

        def handler(received: Received) -> None:
            got.append(received.event.request_id)
            if len(got) == 6:
                enough.set()

        easel.subscribe(handler, group="a-script", until=enough)
        assert sorted(got) == sorted([handle.request_id, *(one.request_id for one in many)])
    with pytest.raises(RuntimeError, match="with statement"):
        easel.usage()


async def test_a_picture_by_its_presigned_url(house: House) -> None:
    async with client_of(house) as client, ObjectStore(house.settings.store) as store:
        output = (await (await client.submit("a red circle", model="nothing")).result(timeout_s=60)).outputs[0]
        url = store.presign_get(output.key, 60)
        assert hashlib.sha256(await client.download(output, url=url)).hexdigest() == output.sha256
        with pytest.raises(Unreachable, match="expired") as refused:
            await client.download(output, url=url.replace("X-Amz-Signature=", "X-Amz-Signature=0"))
        assert "Signature" not in str(refused.value)
        with pytest.raises(ConfigurationError):
            await client.download(output, url="file:///etc/passwd")
        await store.put(
            output.key, b"another picture, longer than the one that was made" * 100, content_type="image/png"
        )
        for address in (url, None):
            with pytest.raises(PictureDamaged):
                await client.download(output, url=address)
        await store.delete(output.key)
        for address in (url, None):
            with pytest.raises(ResultGone):
                await client.download(output, url=address)


def test_what_downloads_need_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="EASEL_STORE_ENDPOINT"):
        open_store(None)
    monkeypatch.delitem(sys.modules, "transport.objects")
    monkeypatch.setitem(sys.modules, "minio", None)
    with pytest.raises(ConfigurationError, match=r"easel\[store\]"):
        open_store(StoreSettings())
