"""The HTTP API on the real broker and store, with the test in admission's place."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

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
