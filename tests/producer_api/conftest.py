"""The HTTP API on the real broker and store, with the test in admission's place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from producer_api.app import create_app
from schemas.connection import KafkaSettings
from schemas.settings import Settings
from tests.producer_api.support import Announcer, Installation, install, make_topics, served, until_ready


@dataclass(frozen=True)
class Api:
    """A running API, a client of it, and who answers for admission."""

    app: FastAPI
    http: httpx.AsyncClient
    installation: Installation
    announcer: Announcer

    async def until(self, id_: str, state: str) -> dict[str, Any]:
        """The task, once it is in ``state``."""
        async with asyncio.timeout(10):
            while True:
                answer = await self.http.get(f"/v1/tasks/{id_}", headers=self.installation.headers())
                if answer.status_code == 200 and answer.json()["state"] == state:
                    return dict(answer.json())
                await asyncio.sleep(0.02)


@pytest.fixture
async def announcer(kafka: KafkaSettings) -> AsyncIterator[Announcer]:
    await make_topics(kafka)
    async with Announcer(kafka) as announcer:
        yield announcer


@pytest.fixture
async def api(settings: Settings, announcer: Announcer, tmp_path: Path) -> AsyncIterator[Api]:
    installation = install(settings, tmp_path)
    app = create_app(installation.settings)
    async with served(app) as http:
        await until_ready(http)
        yield Api(app, http, installation, announcer)
