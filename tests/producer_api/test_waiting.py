"""``Prefer: wait``: the end of a request in the answer to it; and whoever goes away leaves nothing behind."""

from __future__ import annotations

import asyncio
import base64
import time
from typing import Any

import httpx

from producer_api.submitting import until_ended
from schemas.events import Event
from schemas.ids import new_id
from schemas.settings import Settings
from tests.producer_api.conftest import Api
from tests.producer_api.support import TENANT, accepted, answer_requests, failed, succeeded
from tests.producer_api.test_generate import BODY
from tests.producer_api.test_tasks import PICTURE, stored


async def ask(api: Api, id_: str, *answers: Event, prefer: str, **body: Any) -> httpx.Response:
    """Post a request that wants to wait, while ``answers`` are given in admission's and generation's place."""
    headers = {**api.installation.headers(), "Easel-Request-Id": id_, "Prefer": prefer}
    async with asyncio.TaskGroup() as group:
        group.create_task(answer_requests(api.installation.settings.kafka, api.announcer, *answers))
        posted = group.create_task(api.http.post("/v1/generate", json={**BODY, **body}, headers=headers))
    return posted.result()


async def test_who_waits_is_answered_with_the_end_and_with_pictures_where_that_is_asked_for(
    api: Api, settings: Settings
) -> None:
    id_ = new_id()
    await stored(settings, id_)
    answers = (accepted(id_), succeeded(id_, PICTURE))
    answer = await ask(api, id_, *answers, prefer="wait", response_format="b64_json")
    assert answer.status_code == 200, answer.text
    assert (answer.json()["state"], answer.headers["preference-applied"]) == ("succeeded", "wait=60")
    (image,) = answer.json()["outputs"]
    assert base64.b64decode(image["b64_json"]) == PICTURE
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert image.keys().isdisjoint({"url", "expires_at", "key"})


async def test_when_time_is_up_the_task_is_as_it_stands_and_what_has_ended_is_not_waited_for(api: Api) -> None:
    id_ = new_id()
    began = time.monotonic()
    answer = await ask(api, id_, accepted(id_), prefer="wait=1")
    assert (answer.status_code, answer.json()["state"]) == (202, "accepted")
    assert 1.0 <= time.monotonic() - began < 8.0
    await api.announcer.say(failed(id_))
    await api.until(id_, "failed")
    began = time.monotonic()
    task = await until_ended(api.app.state.services, TENANT, id_, within_s=30)
    assert task.state == "failed"
    assert time.monotonic() - began < 5


async def test_who_goes_away_leaves_nothing_behind(api: Api) -> None:
    id_ = new_id()
    watchers = api.app.state.services.tracker._watchers._watches
    headers = {**api.installation.headers(), "Easel-Request-Id": id_, "Prefer": "wait=60"}
    async with asyncio.TaskGroup() as group:
        group.create_task(answer_requests(api.installation.settings.kafka, api.announcer, accepted(id_)))
        posted = group.create_task(api.http.post("/v1/generate", json=BODY, headers=headers))
        async with asyncio.timeout(20):
            while (TENANT, id_) not in watchers:  # noqa: ASYNC110 - it is the server's
                await asyncio.sleep(0.02)
            before = len(asyncio.all_tasks())
            posted.cancel()
            while watchers:  # noqa: ASYNC110 - the same
                await asyncio.sleep(0.02)
    assert len(asyncio.all_tasks()) < before
    assert await api.until(id_, "accepted")


async def test_a_shutdown_answers_who_waits(api: Api) -> None:
    id_ = new_id()
    services = api.app.state.services

    async def end() -> None:
        async with asyncio.timeout(20):
            while (TENANT, id_) not in services.tracker._watchers._watches:  # noqa: ASYNC110 - it is the server's
                await asyncio.sleep(0.02)
        services.closing.set()

    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        group.create_task(end())
        asked = group.create_task(ask(api, id_, accepted(id_), prefer="wait=60"))
    assert asked.result().status_code == 202
    assert time.monotonic() - began < 20
