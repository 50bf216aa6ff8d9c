"""What OpenAI's clients are told to send again: never what would be another request, made and charged too."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from producer_api.app import create_app
from schemas.connection import KafkaSettings, StoreSettings
from schemas.ids import new_id
from schemas.settings import Settings
from tests.consumer.generation.harness import write_null_models
from tests.producer_api.support import (
    Announcer,
    accepted,
    answer_requests,
    install,
    served,
    succeeded,
    until_ready,
)
from tests.producer_api.test_generate import one_shape


@pytest.mark.parametrize(("key", "again"), [(None, "false"), ("order-7", "true")])
async def test_a_store_that_is_away_after_the_pictures_were_made(
    kafka: KafkaSettings, announcer: Announcer, tmp_path: Path, key: str | None, again: str
) -> None:
    settings = Settings(
        kafka=kafka, store=StoreSettings(endpoint="127.0.0.1:1"), models=write_null_models(tmp_path), tenants=tmp_path
    )
    installation = install(settings, tmp_path)
    headers = installation.headers() | ({"Idempotency-Key": key} if key else {})
    asked = {"prompt": "a red circle", "model": "nothing"}
    async with served(create_app(installation.settings)) as http:
        await until_ready(http)
        async with asyncio.TaskGroup() as group:
            group.create_task(answer_requests(kafka, announcer, accepted(new_id()), succeeded(new_id())))
            posted = group.create_task(http.post("/v1/images/generations", json=asked, headers=headers))
        answer = posted.result()
        one_shape(answer, 503, "service_unavailable")
        assert answer.headers["x-should-retry"] == again
        task = await http.get(f"/v1/tasks/{answer.headers['easel-request-id']}", headers=installation.headers())
        assert task.json()["state"] == "succeeded"
