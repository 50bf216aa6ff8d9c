"""A real browser's EventSource: by a ticket, across origins, over a cut, to the end and no further."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from producer_api.app import create_app
from producer_api.services import Services
from schemas.ids import new_id
from schemas.settings import Settings
from tests.producer_api.support import Announcer, accepted, install, served, step, succeeded, until_ready
from tests.transport.servers import Asked, answer, serving

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed here")

PAGE = """<!doctype html><script>
const tell = (...said) => fetch("/told", {method: "POST", body: JSON.stringify(said)});
const events = new EventSource(%s);
for (const name of ["accepted", "progress", "succeeded"])
  events.addEventListener(name, (event) => tell(name, event.lastEventId, JSON.parse(event.data).id));
events.onerror = () => tell("error", events.readyState);
</script>"""
CONNECTING, CLOSED = 0, 2


@contextlib.asynccontextmanager
async def browsing(url: str, profile: Path) -> AsyncIterator[None]:
    assert CHROMIUM is not None
    process = await asyncio.create_subprocess_exec(
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        f"--user-data-dir={profile}",
        url,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        # Its own session, with all that it has started.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def test_a_page_follows_a_task_to_its_end(settings: Settings, announcer: Announcer, tmp_path: Path) -> None:
    told: asyncio.Queue[list[object]] = asyncio.Queue()
    page = ""

    async def site(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if asked.target == "/told":
            told.put_nowait(json.loads(asked.body))
        await answer(200, page.encode(), content_type="text/html")(asked, writer)

    async def next_but(*names: object) -> list[object]:
        """The next thing that the page has told, but for what may come in between."""
        async with asyncio.timeout(60):
            while (said := await told.get())[0] in names:
                pass
        return said

    async with serving(site) as pages:
        origin = f"http://127.0.0.1:{pages.port}"
        installation = install(settings, tmp_path)
        api = installation.settings.api.model_copy(update={"cors_origins": origin})
        app = create_app(installation.settings.model_copy(update={"api": api}))
        services: Services = app.state.services
        async with served(app) as http:
            await until_ready(http)
            id_ = new_id()
            await announcer.say(accepted(id_))
            async with asyncio.timeout(10):
                while (got := await http.post(_ticket(id_), headers=installation.headers())).status_code != 200:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            page = PAGE % json.dumps(str(http.base_url).rstrip("/") + got.json()["url"])
            async with browsing(origin, tmp_path / "profile"):
                assert await next_but() == ["accepted", "0-0", id_]
                await announcer.show(step(id_, 3))
                assert await next_but() == ["progress", "1-3", id_]
                # As at the end of a process: told to come again, it comes, and is told nothing twice.
                services.closing.set()
                assert await next_but() == ["error", CONNECTING]
                services.closing.clear()
                await announcer.show(step(id_, 4))
                assert await next_but("error") == ["progress", "1-4", id_]
                await announcer.say(succeeded(id_))
                assert await next_but("error") == ["succeeded", "end", id_]
                # The stream is over; it asks once more, and is sent away for good.
                async with asyncio.timeout(30):
                    while (said := await told.get()) != ["error", CLOSED]:
                        assert said == ["error", CONNECTING]


def _ticket(id_: str) -> str:
    return f"/v1/tasks/{id_}/events/ticket"
