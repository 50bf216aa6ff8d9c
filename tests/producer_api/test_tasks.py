"""Tasks and pictures over HTTP: as the events say, from the real store, and only to their tenant."""

from __future__ import annotations

import asyncio
import hashlib
import secrets

import httpx
import pytest

from schemas.ids import new_id
from schemas.outputs import output_key
from schemas.settings import Settings
from tests.producer_api.conftest import Api
from tests.producer_api.support import OTHER, TENANT, accepted, canceled, failed, started, step, succeeded
from tests.producer_api.test_generate import one_shape
from transport.objects import ObjectStore

PICTURE = secrets.token_bytes(300_000)


async def stored(settings: Settings, id_: str, picture: bytes = PICTURE) -> str:
    """Put a picture where generation would; returns its key."""
    key = output_key(TENANT, id_, 0, hashlib.sha256(picture).hexdigest(), "png")
    async with ObjectStore(settings.store) as objects:
        await objects.put(key, picture, content_type="image/png")
    return key


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
    assert image["url"] == f"/v1/tasks/{id_}/images/0"
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
