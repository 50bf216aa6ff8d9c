"""What holds for every route: keys, the one error shape, readiness, and a page of documentation that needs nobody."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import pytest

from producer_api.answers import Group, Task, TaskPage
from producer_api.app import create_app
from producer_api.services import StartupError
from schemas.connection import KafkaSettings, StoreSettings
from schemas.settings import Settings
from schemas.yaml_file import ConfigError
from tests.producer_api.conftest import Api
from tests.producer_api.support import (
    OTHER,
    TENANT,
    Installation,
    accepted,
    answer_requests,
    install,
    served,
)
from tests.producer_api.test_generate import BODY, one_shape

AWAY = KafkaSettings(bootstrap_servers="127.0.0.1:1")
UNKNOWN = "0fffffff-ffff-7000-8000-000000000000"
TASK = f"/v1/tasks/{UNKNOWN}"


@pytest.fixture
def alone(tmp_path: Path) -> Installation:
    """An installation whose Kafka and store are away."""
    return install(Settings(kafka=AWAY, store=StoreSettings(endpoint="127.0.0.1:1")), tmp_path)


@pytest.mark.parametrize("path", ["/v1/generate", "/v1/uploads"])
async def test_a_refusal_is_counted_under_its_route_and_no_failure_of_ours(
    alone: Installation, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(create_app(alone.settings)) as http:
        assert (await http.post(path, json=BODY)).status_code == 401
        metrics = (await http.get("/metrics")).text
    assert f'easel_api_requests_total{{method="POST",route="{path}",status="401"}} 1.0' in metrics
    assert "Exception in ASGI application" not in caplog.text


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer wrong"}, {"X-API-Key": "wrong"}, {"X-API-Key": ""}, {"Authorization": "Basic a2V5"}],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/generate"),
        ("GET", TASK),
        ("GET", f"{TASK}/images/0"),
        ("DELETE", TASK),
        ("DELETE", f"{TASK}/outputs"),
    ],
)
async def test_without_a_valid_key_there_is_no_way_in(
    alone: Installation, method: str, path: str, headers: dict[str, str]
) -> None:
    async with served(create_app(alone.settings)) as http:
        answer = await http.request(method, path, headers=headers)
        one_shape(answer, 401, "api_key_invalid")
        assert answer.headers["www-authenticate"] == "Bearer"
        for key in alone.keys.values():
            assert key not in answer.text


async def test_a_key_may_come_in_either_header(api: Api) -> None:
    for headers in (api.installation.headers(), {"X-API-Key": api.installation.keys[TENANT]}):
        one_shape(await api.http.get(TASK, headers=headers), 404, "not_found", "id")


async def test_a_key_that_is_withdrawn_stops_working_without_a_restart(api: Api) -> None:
    async def status(tenant: str) -> int:
        return (await api.http.get(TASK, headers=api.installation.headers(tenant))).status_code

    async def becomes(tenant: str, expected: int) -> None:
        async with asyncio.timeout(10):
            while await status(tenant) != expected:  # noqa: ASYNC110 - another process's file
                await asyncio.sleep(0.05)

    assert await status(TENANT) == 404
    api.installation.write(version=2, without=TENANT)
    await becomes(TENANT, 401)
    assert await status(OTHER) == 404

    # Neither a broken file nor an older one brings it back, or takes anyone else's away.
    for content in ("version: [", api.installation.settings.tenants.read_text().replace("version: 2", "version: 1")):
        api.installation.settings.tenants.write_text(content)
        async with asyncio.timeout(10):
            while "easel_api_tenants_valid 0.0" not in (await api.http.get("/metrics")).text:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert (await status(TENANT), await status(OTHER)) == (401, 404)
        api.installation.write(version=3, without=TENANT)
        async with asyncio.timeout(10):
            while "easel_api_tenants_valid 1.0" not in (await api.http.get("/metrics")).text:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    api.installation.write(version=4)
    await becomes(TENANT, 404)


async def test_every_error_of_the_framework_has_the_one_shape(alone: Installation) -> None:
    app = create_app(alone.settings)

    @app.get("/boom")
    async def boom() -> None:
        raise RuntimeError("a secret of the inside")

    async with served(app) as http:
        one_shape(await http.get("/v2/nothing"), 404, "not_found")
        wrong_method = await http.put(TASK)
        one_shape(wrong_method, 405, "invalid_request")
        assert wrong_method.headers["allow"] == "DELETE, GET"
        for path, allowed in (
            (f"{TASK}/outputs", "DELETE"),
            ("/v1/generate", "POST"),
            ("/docs", "GET"),
            ("/docs/assets/swagger-ui.css", "GET, HEAD"),
        ):
            answer = await http.put(path)
            assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
        failure = one_shape(await http.get("/boom"), 500, "internal_error")
        assert "secret" not in str(failure)
        one_shape(await http.get(f"{TASK}{'0' * 100}", headers=alone.headers()), 400, "invalid_request", "id")


async def test_without_kafka_it_says_so_at_once_and_lives_on(alone: Installation) -> None:
    async with served(create_app(alone.settings)) as http:
        assert (await http.get("/health/live")).json() == {"status": "live"}
        ready = await http.get("/health/ready")
        assert ready.status_code == 503
        assert ready.json()["ready"] is False
        assert any("Kafka" in reason for reason in ready.json()["reasons"])
        began = time.monotonic()
        answer = await http.post("/v1/generate", json=BODY, headers=alone.headers())
        assert time.monotonic() - began < 4.0, "it has waited for a decision"
        one_shape(answer, 503, "service_unavailable")
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["easel-request-id"] in answer.json()["error"]["message"]
        # Whether there is such a task can't be known: not a 404, which a client would believe.
        one_shape(await http.get(TASK, headers=alone.headers()), 503, "service_unavailable")


async def test_what_admission_would_not_believe_is_not_published(api: Api) -> None:
    tenants = api.installation.settings.tenants
    tenants.write_text(
        tenants.read_text().replace("version: 1", "version: 2").replace("kid: easel-api-1", "kid: easel-api-2")
    )
    async with asyncio.timeout(10):
        while (ready := await api.http.get("/health/ready")).status_code == 200:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert "easel-api-1" in ready.json()["reasons"][0]
    answer = await api.http.post("/v1/generate", json=BODY, headers=api.installation.headers())
    one_shape(answer, 503, "service_unavailable")


async def test_metrics_count_by_route_and_never_by_id(api: Api) -> None:
    await api.http.get(TASK, headers=api.installation.headers())
    await api.http.get("/v2/nothing")
    async with asyncio.TaskGroup() as group:
        group.create_task(answer_requests(api.installation.settings.kafka, api.announcer, accepted(UNKNOWN)))
        group.create_task(api.http.post("/v1/generate", json=BODY, headers=api.installation.headers()))
    text = (await api.http.get("/metrics")).text
    assert 'easel_api_requests_total{method="GET",route="/v1/tasks/{id}",status="404"} 1.0' in text
    assert 'easel_api_requests_total{method="GET",route="unmatched",status="404"} 1.0' in text
    assert 'easel_api_decisions_total{outcome="accepted"} 1.0' in text
    assert "easel_api_caught_up 1.0" in text
    assert UNKNOWN not in text


async def test_the_documentation_asks_no_other_host(alone: Installation) -> None:
    async with served(create_app(alone.settings)) as http:
        page = await http.get("/docs")
        assert page.status_code == 200
        used = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert len(used) >= 3
        for path in used:
            assert path.startswith("/docs/assets/")
            asset = await http.get(path)
            assert asset.status_code == 200
            assert len(asset.content) > 1000
        assert "/openapi.json" in page.text


def references(node: object) -> set[str]:
    """Each ``$ref`` in a document."""
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*(references(value) for value in node.values()))
    return set().union(*(references(value) for value in node)) if isinstance(node, list) else set()


async def test_the_document_describes_every_error_and_names_nothing_that_is_not_there(alone: Installation) -> None:
    async with served(create_app(alone.settings)) as http:
        document: dict[str, Any] = (await http.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]
    assert {reference.rpartition("/")[2] for reference in references(document)} <= set(schemas)
    assert "GenerateBody" in schemas
    for told in (Task, Group, TaskPage):
        for example in schemas[told.__name__]["examples"]:
            assert set(example) <= set(schemas[told.__name__]["properties"])
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["tags"]
            assert operation["summary"]
            for status, answer in operation["responses"].items():
                if int(status) >= 400 and not path.startswith("/health"):
                    # A flat one has the one shape too, with two of its fields at the top.
                    flat = path.startswith(("/token", "/api/v1/", "/v1/task/"))
                    shape = "FlatShape" if flat else "ErrorShape"
                    assert references(answer) == {f"#/components/schemas/{shape}"}, (path, status)
            if path.startswith("/v1/"):
                assert operation["security"]
                assert "401" in operation["responses"]
    # Only where it is ours to give: the framework's own is answered as 400.
    with_422 = {
        path for path, found in document["paths"].items() if any("422" in one["responses"] for one in found.values())
    }
    assert with_422 == {"/v1/generate", "/v1/images/generations", "/v1/images/edits", "/api/v1/generate"}


def test_settings_that_cannot_work_are_named_before_anything_starts(alone: Installation) -> None:
    settings = alone.settings
    without = settings.model_copy(update={"api": settings.api.model_copy(update={"signing_key": None})})
    with pytest.raises(StartupError, match="EASEL_API_SIGNING_KEY"):
        create_app(without)
    settings.tenants.write_text("version: 0")
    with pytest.raises(ConfigError, match=r"tenants\.yaml"):
        create_app(settings)
