"""The spans of one request over all services, as a real exporter sends them, and the picture of them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from ops.local.ports import free_port
from ops.trace.collector import Collector, Span
from ops.trace.picture import draw, lines_of
from schemas.settings import Settings
from schemas.webhook_entries import make_secret
from tests.consumer.webhooks.receiver import Receiver
from tests.house import House
from tests.producer_api.conftest import add_http
from tests.producer_api.support import ISSUER_SECRET, install, served, until_ready
from tests.until import until
from transport.tracing import Tracing, tracing

CALLER = "4bf92f3577b34da6a3ce929d0e0e4736"
OTEL = {"OTEL_BSP_SCHEDULE_DELAY": "200"}


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
    with Collector() as collector:
        yield collector
        tracing.stop()


@pytest.fixture
async def house(settings: Settings, tmp_path: Path) -> AsyncIterator[House]:
    (tmp_path / "http").mkdir()
    api = install(settings, tmp_path / "http").settings.api
    house = await House.build(settings.model_copy(update={"api": api}), tmp_path, tenants=("acme",))
    (tmp_path / "api.secret").write_text(ISSUER_SECRET)
    add_http(house, tmp_path / "api.secret")
    yield house
    house.close()


@pytest.mark.system
async def test_one_request_is_one_trace_over_all_services(house: House, collector: Collector, tmp_path: Path) -> None:
    from producer_api.app import create_app

    (tmp_path / "hook.secret").write_text(make_secret())
    file = json.loads(house.settings.tenants.read_text())
    with Receiver() as receiver:
        secrets = [{"secret_file": "hook.secret"}]
        file["tenants"][0]["webhooks"] = [{"name": "cms", "url": receiver.url(), "secrets": secrets}]
        house.settings.tenants.write_text(json.dumps(file))
        env = {"EASEL_TRACING_ENDPOINT": collector.endpoint, **OTEL}
        stages = [house.admission(**env), house.worker(**env), house.webhooks(**env)]
        for stage in stages:
            await stage.ready()
        tracing.start("easel-api", endpoint=collector.endpoint, installation="easel")
        async with served(create_app(house.settings)) as http:
            await until_ready(http)
            answer = await http.post(
                "/v1/generate",
                json={"prompt": "a red circle", "model": "nothing", "images": 2},
                headers={"X-API-Key": "acme", "traceparent": f"00-{CALLER}-00f067aa0ba902b7-01"},
            )
            assert answer.status_code == 202, answer.text
            await until(lambda: receiver.got, within_s=60)
        await until(lambda: len(collector.of(CALLER)) >= 12, within_s=30)
        await asyncio.sleep(0.5)
    spans = collector.of(CALLER)
    [http_span] = [span for span in spans if span.service == "easel-api"]
    assert (http_span.name, http_span.parent) == ("POST /v1/generate", "00f067aa0ba902b7")
    assert http_span.attributes["http.response.status_code"] == 202
    topics = house.topics
    tree = {(span.service, span.name): span for span in spans}
    below_http = {
        ("easel-admission", f"process {topics.requests}"),
        ("easel-admission", "wait in the queue"),
        ("easel-generation", f"process {topics.jobs('default')}"),
        ("easel-admission", f"process {topics.outcomes}"),
        ("easel-webhooks", "POST webhook"),
    }
    job = tree["easel-generation", f"process {topics.jobs('default')}"]
    below_job = {("easel-generation", name) for name in ("wait for the engine", "engine", "encode", "upload")}
    assert set(tree) == {("easel-api", "POST /v1/generate"), *below_http, *below_job}
    assert {tree[key].parent for key in below_http} == {http_span.id}
    assert {tree[key].parent for key in below_job} == {job.id}
    assert all(job.began_ns <= tree[key].began_ns <= tree[key].ended_ns <= job.ended_ns for key in below_job)
    assert job.attributes["easel.request_id"] == answer.json()["id"]
    assert job.attributes["messaging.system"] == "kafka"
    assert receiver.got[0].headers["traceparent"].split("-")[1:3] == [CALLER, http_span.id]
    draw(spans, tmp_path / "trace.png")
    with Image.open(tmp_path / "trace.png") as picture:
        assert picture.width > 1_000


def test_without_an_endpoint_nothing_is_imported() -> None:
    code = (
        "import sys, consumer.webhooks.service, consumer.admission.service, consumer.generation.service;"
        "from transport.tracing import tracing; tracing.start('x', endpoint=None, installation='easel');"
        "print(tracing.on, [name for name in sys.modules if name.startswith('opentelemetry')]);"
        # Its framework looks for the API by itself.
        "import producer_api.app; print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])"
    )
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert answer.stdout.strip() == "False []\n[]"


def test_a_collector_that_does_not_answer_keeps_nobody_waiting() -> None:
    own = Tracing()
    own.start("easel-test", endpoint=f"http://127.0.0.1:{free_port()}", installation="easel")
    began = time.monotonic()
    for _ in range(5_000):
        own.span("x", f"00-{CALLER}-00f067aa0ba902b7-01", time.time_ns())
    assert time.monotonic() - began < 3.0
    own.stop()
    assert time.monotonic() - began < 6.0


def test_a_trace_that_is_not_sampled_is_not_sent(collector: Collector) -> None:
    own = Tracing()
    own.start("easel-test", endpoint=collector.endpoint, installation="easel")
    own.span("unwanted", f"00-{CALLER}-00f067aa0ba902b7-00", time.time_ns())
    own.span("wanted", f"00-{CALLER}-00f067aa0ba902b7-01", time.time_ns(), error="failed")
    own.span("of no trace", None, time.time_ns())
    own.stop()
    assert [(span.name, span.failed) for span in collector.spans] == [("wanted", True)]


def test_children_stand_below_their_parents() -> None:
    def span(name: str, parent: str, began: int) -> Span:
        return Span("t", name, parent, "s", name, began, began + 10, False, {})

    spans = [span("b", "a", 5), span("a", "elsewhere", 1), span("c", "b", 6), span("d", "a", 3)]
    assert [(depth, one.name) for depth, one in lines_of(spans)] == [(0, "a"), (1, "d"), (1, "b"), (2, "c")]


async def test_a_request_without_a_trace_gets_one_of_its_own(collector: Collector) -> None:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    from producer_api.traced import Traced

    async def told(request: Request) -> JSONResponse:
        return JSONResponse({"traceparent": request.headers.get("traceparent")})

    app = Traced(Starlette(routes=[Route("/v1/x/{id}", told)]))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as http:
        assert (await http.get("/v1/x/1")).json() == {"traceparent": None}
        tracing.start("easel-api", endpoint=collector.endpoint, installation="easel")
        traceparent = (await http.get("/v1/x/1")).json()["traceparent"]
        await http.get("/health/live")
    tracing.stop()
    [span] = collector.spans
    assert traceparent == f"00-{span.trace}-{span.id}-01"
    assert (span.parent, span.attributes["http.response.status_code"]) == ("", 200)
