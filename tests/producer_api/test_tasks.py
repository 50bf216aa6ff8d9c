"""Tasks and pictures over HTTP: as the events say, from the real store, and only to their tenant."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from datetime import datetime

import httpx
import pytest

from schemas.ids import new_id, nth_id
from schemas.outputs import Manifest, manifest_key, output_key
from schemas.settings import Settings
from tests.producer_api.conftest import Api
from tests.producer_api.support import OTHER, TENANT, accepted, canceled, failed, started, step, succeeded
from tests.producer_api.test_generate import one_shape
from transport.objects import ObjectStore

PICTURE = secrets.token_bytes(300_000)
OLD = "0198c0de-0000-7000-8000-000000000000"


async def stored(settings: Settings, id_: str, picture: bytes = PICTURE) -> str:
    """Put a picture where generation would; returns its key."""
    key = output_key(TENANT, id_, 0, hashlib.sha256(picture).hexdigest(), "png")
    async with ObjectStore(settings.store) as objects:
        await objects.put(key, picture, content_type="image/png")
    return key


async def keep_made(objects: ObjectStore, id_: str, picture: bytes) -> None:
    """Put a picture and its manifest where generation would: one of two that were asked for."""
    output = succeeded(id_, picture).outputs[0]
    manifest = Manifest(
        tenant=TENANT,
        request_id=id_,
        attempt=1,
        model="easel-tiny",
        weights_revision="r1",
        outputs=[output],
        asked=2,
        engine_ms=5,
        parameters={},
    )
    await objects.put(output.key, picture, content_type="image/png")
    await objects.put(manifest_key(TENANT, id_), manifest.model_dump_json().encode(), content_type="application/json")


async def get(api: Api, path: str, tenant: str = TENANT, **headers: str) -> httpx.Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return await api.http.get(path, headers={**api.installation.headers(tenant), **names})


async def test_a_task_is_told_from_its_events(api: Api) -> None:
    id_ = new_id()
    await api.announcer.say(accepted(id_))
    task = await api.until(id_, "accepted")
    assert (task["cost_milliunits"], task["position"], task["model"]) == (211, 3, "easel-tiny")
    assert "outputs" not in task
    await api.announcer.show(started(id_), step(id_, 5))
    task = await api.until(id_, "running")
    async with asyncio.timeout(10):
        while task["progress"] != {"attempt": 1, "step": 5, "steps": 12}:
            task = await api.until(id_, "running")
    await api.announcer.say(succeeded(id_, PICTURE))
    task = await api.until(id_, "succeeded")
    assert "progress" not in task
    assert task["metadata"] == {"post": "1234"}
    (image,) = task["outputs"]
    assert image["path"] == f"/v1/tasks/{id_}/images/0"
    assert image["sha256"] == hashlib.sha256(PICTURE).hexdigest()
    assert "key" not in image


async def test_endings_without_pictures(api: Api) -> None:
    bad, gone = new_id(), new_id()
    await api.announcer.say(accepted(bad), failed(bad), accepted(gone), canceled(gone))
    task = await api.until(bad, "failed")
    assert task["error"]["code"] == "out_of_memory"
    assert (task["cost_milliunits"], task["refunded_milliunits"]) == (0, 211)
    await api.until(gone, "canceled")
    one_shape(await get(api, f"/v1/tasks/{bad}/images/0"), 404, "not_found", "id")


async def test_a_picture_comes_from_the_store_with_what_a_cache_needs(api: Api, settings: Settings) -> None:
    id_ = new_id()
    await stored(settings, id_)
    await api.announcer.say(accepted(id_), succeeded(id_, PICTURE))
    await api.until(id_, "succeeded")
    answer = await get(api, f"/v1/tasks/{id_}/images/0")
    assert answer.status_code == 200, answer.text
    assert answer.content == PICTURE
    etag = f'"{hashlib.sha256(PICTURE).hexdigest()}"'
    assert answer.headers["etag"] == etag
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-length"] == str(len(PICTURE))
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    for condition in (etag, f'"other", W/{etag}', "*"):
        again = await get(api, f"/v1/tasks/{id_}/images/0", if_none_match=condition)
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert (await get(api, f"/v1/tasks/{id_}/images/0", if_none_match='"other"')).content == PICTURE


async def test_another_tenant_sees_neither_task_nor_picture(api: Api, settings: Settings) -> None:
    id_ = new_id()
    await stored(settings, id_)
    await api.announcer.say(accepted(id_), succeeded(id_, PICTURE))
    await api.until(id_, "succeeded")
    one_shape(await get(api, f"/v1/tasks/{id_}", OTHER), 404, "not_found", "id")
    one_shape(await get(api, f"/v1/tasks/{id_}/images/0", OTHER), 404, "not_found", "id")
    # The same id of the other tenant is the other tenant's.
    await api.announcer.say(accepted(id_, OTHER), number=1)
    async with asyncio.timeout(10):
        while (theirs := await get(api, f"/v1/tasks/{id_}", OTHER)).status_code != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert theirs.json()["state"] == "accepted"
    one_shape(await get(api, f"/v1/tasks/{id_}/images/0", OTHER), 404, "not_found", "id")


async def test_a_key_outside_the_tenants_prefix_is_nobodys_picture(api: Api, settings: Settings) -> None:
    id_ = new_id()
    key = await stored(settings, id_)
    event = succeeded(id_, PICTURE, tenant=OTHER)
    stolen = event.model_copy(update={"outputs": [event.outputs[0].model_copy(update={"key": key})]})
    await api.announcer.say(accepted(id_, OTHER), stolen)
    async with asyncio.timeout(10):
        while (await get(api, f"/v1/tasks/{id_}", OTHER)).json().get("state") != "succeeded":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    one_shape(await get(api, f"/v1/tasks/{id_}/images/0", OTHER), 404, "not_found", "id")


async def test_a_picture_that_is_gone_and_one_that_never_was(api: Api) -> None:
    id_ = new_id()
    await api.announcer.say(accepted(id_), succeeded(id_, b"not stored"))
    await api.until(id_, "succeeded")
    one_shape(await get(api, f"/v1/tasks/{id_}/images/0"), 404, "not_found", "id")
    one_shape(await get(api, f"/v1/tasks/{id_}/images/1"), 404, "not_found", "id")
    one_shape(await get(api, f"/v1/tasks/{id_}/images/x"), 400, "invalid_request", "index")
    one_shape(await get(api, f"/v1/tasks/{id_}/images/-1"), 400, "invalid_request", "index")
    one_shape(await get(api, f"/v1/tasks/{new_id()}"), 404, "not_found", "id")


async def made(api: Api, settings: Settings) -> str:
    """A task with a picture in the store; its id."""
    id_ = new_id()
    await stored(settings, id_)
    await api.announcer.say(accepted(id_), succeeded(id_, PICTURE))
    await api.until(id_, "succeeded")
    return id_


async def test_a_part_of_a_picture_and_what_it_is_without_it(api: Api, settings: Settings) -> None:
    id_ = await made(api, settings)
    path = f"/v1/tasks/{id_}/images/0"
    etag = f'"{hashlib.sha256(PICTURE).hexdigest()}"'
    for asked, first, last in (
        ("bytes=0-99", 0, 99),
        ("bytes=299990-", 299_990, 299_999),
        ("bytes=-5", 299_995, 299_999),
    ):
        part = await get(api, path, range=asked)
        assert (part.status_code, part.content) == (206, PICTURE[first : last + 1])
        assert part.headers["content-range"] == f"bytes {first}-{last}/300000"
        assert part.headers["content-length"] == str(last - first + 1)
    for range_, if_range in (("bytes=0-1,5-6", ""), ("bytes=0-1", '"other"'), ("nonsense", "")):
        whole = await get(api, path, range=range_, **({"if_range": if_range} if if_range else {}))
        assert (whole.status_code, whole.content) == (200, PICTURE)
    assert (await get(api, path, range="bytes=0-1", if_range=etag)).status_code == 206
    beyond = await get(api, path, range="bytes=300000-")
    one_shape(beyond, 416, "invalid_request", "Range")
    assert beyond.headers["content-range"] == "bytes */300000"
    answer = await api.http.head(f"/v1/tasks/{id_}/images/0", headers=api.installation.headers())
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "300000")
    assert answer.headers["content-disposition"] == f'inline; filename="{id_}-0.png"'
    assert answer.headers["accept-ranges"] == "bytes"


async def test_links_work_without_a_key_for_as_long_as_they_say(api: Api, settings: Settings) -> None:
    object.__setattr__(api.app.state.services.settings.api, "url_ttl_s", 4)
    id_ = await made(api, settings)
    began = time.time()
    (image,) = (await get(api, f"/v1/tasks/{id_}")).json()["outputs"]
    expires = datetime.fromisoformat(image["expires_at"]).timestamp()
    assert began + 2 < expires < began + 7
    async with httpx.AsyncClient() as anyone:
        assert (await anyone.get(image["url"])).content == PICTURE
        assert (await anyone.get(image["url"].replace("0-", "1-"))).status_code in (403, 404)
        await asyncio.sleep(max(0.0, expires + 2 - time.time()))
        assert (await anyone.get(image["url"])).status_code == 403


async def test_an_old_task_is_found_in_the_store(api: Api, settings: Settings) -> None:
    """Its topics are gone, or were read by another process: the manifest still says what it made."""
    id_, nothing = nth_id(OLD, 1), nth_id(OLD, 2)
    async with ObjectStore(settings.store) as objects:
        await keep_made(objects, id_, PICTURE)
    task = (await get(api, f"/v1/tasks/{id_}")).json()
    assert (task["state"], task["partial"], task["model"]) == ("succeeded", True, "easel-tiny")
    assert (await get(api, task["outputs"][0]["path"])).content == PICTURE
    assert "cost_milliunits" not in task
    one_shape(await get(api, f"/v1/tasks/{id_}", OTHER), 410, "not_found", "id")
    one_shape(await get(api, f"/v1/tasks/{nothing}"), 410, "not_found", "id")
    one_shape(await get(api, f"/v1/tasks/{nothing}/images/0"), 410, "not_found", "id")
    one_shape(await get(api, "/v1/tasks/7"), 404, "not_found", "id")


async def test_a_list_that_cannot_be_is_refused(api: Api) -> None:
    wrong = {
        "limit=0": "limit",
        "limit=101": "limit",
        "state=submitted": "state",
        "cursor=!!": "cursor",
        "cursor=": "cursor",
        "metadata.a=1&metadata.a=2": "metadata.a",
        "&".join(f"metadata.{number}=1" for number in range(5)): "metadata.4",
    }
    for query, param in wrong.items():
        one_shape(await get(api, f"/v1/tasks?{query}"), 400, "invalid_request", param)


@pytest.mark.parametrize("api_store", ["127.0.0.1:1"])
async def test_a_store_that_is_away_is_503(api: Api, api_store: str) -> None:
    id_ = new_id()
    await api.announcer.say(accepted(id_), succeeded(id_, PICTURE))
    await api.until(id_, "succeeded")
    services = api.app.state.services
    away = ObjectStore(services.settings.store.model_copy(update={"endpoint": api_store, "timeout_s": 2.0}))
    object.__setattr__(services, "objects", away)
    answer = await get(api, f"/v1/tasks/{id_}/images/0")
    one_shape(answer, 503, "service_unavailable")
    assert answer.headers["retry-after"] == "1"
