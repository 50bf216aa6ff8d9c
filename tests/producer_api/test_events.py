"""The events of a task: in order, from where a reader was cut off, never without the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from producer_api import event_stream
from producer_api.app import create_app
from producer_api.services import Services
from producer_api.tickets import issue_ticket
from schemas.ids import new_id
from schemas.previews import GenerationPreview
from schemas.settings import Settings
from tests.producer_api.conftest import Api
from tests.producer_api.event_source import EventSource, Said, listening
from tests.producer_api.support import (
    OTHER,
    TENANT,
    Announcer,
    accepted,
    canceled,
    failed,
    install,
    rejected,
    served,
    started,
    step,
    succeeded,
    until_ready,
)


def preview(id_: str, number: int, index: int = 0) -> GenerationPreview:
    return GenerationPreview(
        tenant=TENANT, request_id=id_, attempt=1, index=index, step=number, steps=12, image_base64="eA=="
    )


def follow(api: Api, id_: str, last: str | None = None, tenant: str = TENANT) -> Any:
    headers = api.installation.headers(tenant) | ({"Last-Event-ID": last} if last is not None else {})
    return listening(api.http, f"/v1/tasks/{id_}/events", headers=headers)


async def until(events: AsyncIterator[Said], name: str) -> list[Said]:
    """The events up to the first of this name."""
    found = []
    async with asyncio.timeout(15):
        async for said in events:
            found.append(said)
            if said.name == name:
                return found
    raise AssertionError(f"it ended with {[said.name for said in found]}")


async def rest(source: EventSource) -> list[Said]:
    async with asyncio.timeout(15):
        return [said async for said in source]


async def test_a_task_is_followed_from_accepted_to_its_end(api: Api) -> None:
    id_ = new_id()
    await api.announcer.say(accepted(id_))
    await api.until(id_, "accepted")
    async with follow(api, id_) as source:
        events = aiter(source)
        (first,) = await until(events, "accepted")
        assert (first.id, first.data["id"], first.data["state"], first.data["cost_milliunits"]) == (
            "0-0",
            id_,
            "accepted",
            211,
        )
        assert first.data["links"]["events"] == f"/v1/tasks/{id_}/events"
        assert source.retry_ms == 2_000
        await api.announcer.show(started(id_))
        (begun,) = await until(events, "progress")
        assert (begun.id, begun.data) == ("1-0", {"id": id_, "attempt": 1, "step": 0, "steps": 12})
        await api.announcer.show(step(id_, 4), preview(id_, 4))
        *_, seen = await until(events, "preview")
        assert seen.data == {
            "id": id_,
            "attempt": 1,
            "index": 0,
            "step": 4,
            "steps": 12,
            "media_type": "image/jpeg",
            "image_base64": "eA==",
        }
        # What is older than what was told is no news.
        await api.announcer.show(step(id_, 3))
        await api.announcer.say(succeeded(id_))
        said = [one async for one in events]
        assert [(one.name, one.id) for one in said if one.name != "progress"] == [("succeeded", "end")]
        assert [one.id for one in said if one.name == "progress"] in ([], ["1-4"])
        assert said[-1].data["state"] == "succeeded"
        assert said[-1].data["metadata"] == {"post": "1234"}
        assert source.response.headers["x-accel-buffering"] == "no"
        assert source.response.headers["cache-control"] == "no-store"

    # Whoever comes late is told how it ended; who has seen that is told to stay away.
    async with follow(api, id_) as late:
        assert [one.name for one in await rest(late)] == ["succeeded"]
    async with follow(api, id_, "1-4") as late:
        assert [one.name for one in await rest(late)] == ["succeeded"]
    headers = api.installation.headers() | {"Last-Event-ID": "end"}
    assert (await api.http.get(f"/v1/tasks/{id_}/events", headers=headers)).status_code == 204


async def test_a_reader_that_was_cut_off_goes_on_where_it_was(api: Api) -> None:
    id_ = new_id()
    await api.announcer.say(accepted(id_))
    await api.announcer.show(started(id_), step(id_, 5))
    async with asyncio.timeout(10):
        while (await api.until(id_, "running"))["progress"]["step"] != 5:  # noqa: ASYNC110 - it reads a topic
            await asyncio.sleep(0.02)
    async with follow(api, id_) as source:
        # Of the steps until now the newest.
        assert [one.id for one in await until(aiter(source), "progress")] == ["0-0", "1-5"]
    async with follow(api, id_, "1-5") as source:
        await api.announcer.show(step(id_, 5), step(id_, 6))
        assert [one.id for one in await until(aiter(source), "progress")] == ["1-6"]
    async with follow(api, id_, "1-2") as source:
        assert [one.id for one in await until(aiter(source), "progress")] == ["1-6"]
    async with follow(api, id_, "nonsense") as source:
        assert [one.id for one in await until(aiter(source), "progress")] == ["0-0", "1-6"]
    # A second attempt begins anew, and that is news.
    async with follow(api, id_, "1-6") as source:
        await api.announcer.show(started(id_, 2), step(id_, 1, 2))
        events = aiter(source)
        seen = await until(events, "progress")
        assert seen[0].id in ("2-0", "2-1")
        await api.announcer.say(canceled(id_))
        assert [one async for one in events][-1].name == "canceled"


async def test_each_way_to_end_ends_the_stream(api: Api) -> None:
    bad, no = new_id(), new_id()
    services: Services = api.app.state.services
    services.tracker.submitted(TENANT, no)
    await api.announcer.say(accepted(bad))
    await api.until(bad, "accepted")
    async with follow(api, bad) as first, follow(api, no) as second:
        # Nothing is known of it yet: it was published, no more.
        await api.announcer.say(failed(bad), rejected(no))
        (*_, failure), (refusal,) = await rest(first), await rest(second)
    assert (failure.name, failure.id, failure.data["error"]["code"]) == ("failed", "end", "out_of_memory")
    assert (refusal.name, refusal.id, refusal.data["error"]["code"]) == ("rejected", "end", "rate_limited")


async def test_a_browser_gets_a_ticket_that_is_good_for_one_task(api: Api) -> None:
    id_, other = new_id(), new_id()
    await api.announcer.say(accepted(id_), accepted(other))
    await api.until(other, "accepted")
    got = await api.http.post(f"/v1/tasks/{id_}/events/ticket", headers=api.installation.headers())
    assert got.status_code == 200, got.text
    url = got.json()["url"]
    assert api.installation.keys[TENANT] not in url
    async with listening(api.http, url) as source:
        assert [one.id for one in await until(aiter(source), "accepted")] == ["0-0"]

    ticket = url.partition("ticket=")[2]
    services: Services = api.app.state.services
    forged = jwt.encode(jwt.decode(ticket, options={"verify_signature": False}), "x" * 32, algorithm="HS256")
    foreign = issue_ticket(services, "nobody", id_)
    for path, word in ((other, ticket), (id_, forged), (id_, foreign), (id_, ""), (id_, "x"), (id_, ticket[:-2])):
        async with asyncio.timeout(10):
            refused = await api.http.get(f"/v1/tasks/{path}/events", params={"ticket": word})
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "api_key_invalid"), word
    # It opens nothing else.
    assert (await api.http.get(f"/v1/tasks/{id_}", params={"ticket": ticket})).status_code == 401


async def test_a_ticket_is_good_for_five_minutes(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    id_, services = new_id(), api.app.state.services
    await api.announcer.say(accepted(id_))
    await api.until(id_, "accepted")
    now = time.time()
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: now - 301)
        old = issue_ticket(services, TENANT, id_)
    # One that is good opens a stream, which would not end.
    async with asyncio.timeout(10):
        refused = await api.http.get(f"/v1/tasks/{id_}/events", params={"ticket": old})
    assert refused.status_code == 401


async def test_others_tasks_are_not_there_and_no_key_opens_nothing(api: Api) -> None:
    id_ = new_id()
    await api.announcer.say(accepted(id_))
    await api.until(id_, "accepted")
    path = f"/v1/tasks/{id_}/events"
    assert (await api.http.get(path)).status_code == 401
    for method, place in (("GET", path), ("POST", f"{path}/ticket"), ("GET", f"/v1/tasks/{new_id()}/events")):
        refused = await api.http.request(method, place, headers=api.installation.headers(OTHER))
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found")


async def test_silence_is_broken_by_comments(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "_HEARTBEAT_S", 0.1)
    id_ = new_id()
    await api.announcer.say(accepted(id_))
    await api.until(id_, "accepted")
    async with follow(api, id_) as source, asyncio.timeout(10):
        events = aiter(source)
        await until(events, "accepted")
        await asyncio.sleep(0.5)
        await api.announcer.say(canceled(id_))
        assert [one.name async for one in events] == ["canceled"]
    assert source.comments.count("still here") >= 2


async def test_readers_are_told_to_come_again_when_the_process_ends(api: Api) -> None:
    id_ = new_id()
    await api.announcer.say(accepted(id_))
    await api.until(id_, "accepted")
    async with follow(api, id_) as source:
        events = aiter(source)
        await until(events, "accepted")
        api.app.state.services.closing.set()
        async with asyncio.timeout(5):
            assert [one async for one in events] == []
    assert source.comments == ["this server ends"]
    assert source.retry_ms is not None
    assert 500 <= source.retry_ms <= 3_000
    assert source.last_id == "0-0"


async def test_a_reader_who_leaves_is_forgotten(api: Api) -> None:
    id_, services = new_id(), api.app.state.services
    await api.announcer.say(accepted(id_))
    await api.until(id_, "accepted")
    async with follow(api, id_) as source:
        await until(aiter(source), "accepted")
        assert len(services.tracker._watchers._watches) == 1
    async with asyncio.timeout(10):
        while services.tracker._watchers._watches:  # noqa: ASYNC110 - the server notices it
            await asyncio.sleep(0.02)


async def test_open_streams_do_not_hold_up_the_end_of_a_server(
    settings: Settings, announcer: Announcer, tmp_path: Path
) -> None:
    id_, installation = new_id(), install(settings, tmp_path)
    told = asyncio.Event()
    async with httpx.AsyncClient(timeout=30) as own:

        async def read(url: str) -> list[str]:
            async with listening(own, url, headers=installation.headers()) as source:
                async for _ in source:
                    told.set()
                return source.comments

        async with served(create_app(installation.settings)) as http:
            await until_ready(http)
            await announcer.say(accepted(id_))
            path = f"/v1/tasks/{id_}/events"
            async with asyncio.timeout(10):
                while (await http.post(f"{path}/ticket", headers=installation.headers())).status_code != 200:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            reading = asyncio.create_task(read(str(http.base_url.join(path))))
            await asyncio.wait_for(told.wait(), 10)
            began = time.monotonic()
        # Answers under way have 10 s; these say at once that they end.
        assert time.monotonic() - began < 9
        assert await asyncio.wait_for(reading, 5) == ["this server ends"]
