"""Connections that come slowly, too large, as garbage or in too great a number hold nobody up, and are told why."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from fastapi import Request

from producer_api.app import create_app
from producer_api.connection import MAX_HEAD_BYTES
from schemas.connection import KafkaSettings, StoreSettings
from schemas.settings import Settings
from tests.producer_api.support import Installation, install, served
from tests.producer_api.test_generate import one_shape

AWAY = Settings(kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1"), store=StoreSettings(endpoint="127.0.0.1:1"))


@pytest.fixture
def alone(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """An installation whose Kafka and store are away, with room for few connections and small bodies."""
    installation = install(AWAY, tmp_path_factory.mktemp("alone"))
    api = installation.settings.api.model_copy(update={"connections": 6, "max_body_mib": 1})
    return Installation(installation.settings.model_copy(update={"api": api}), installation.keys)


@pytest.fixture
async def http(alone: Installation) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(alone.settings)

    @app.post("/length")
    async def length(request: Request) -> int:
        return len(await request.body())

    async with served(app) as http:
        yield http


async def told(http: httpx.AsyncClient, *pieces: bytes, every_s: float = 0.0) -> tuple[int, bytes, float]:
    """What the server says on a raw connection until it closes it: status, body, seconds."""
    reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
    began, body = time.monotonic(), b""

    async def drip() -> None:
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(every_s)

    dripping = asyncio.create_task(drip())
    try:
        async with asyncio.timeout(25):
            head = await reader.readuntil(b"\r\n\r\n")
            # Whoever still writes when the server has gone is told so by a reset: after the answer.
            with contextlib.suppress(ConnectionResetError):
                while piece := await reader.read(65_536):
                    body += piece
    finally:
        dripping.cancel()
        writer.close()
    return int(head.split()[1]), body, time.monotonic() - began


def said(body: bytes) -> str:
    return str(json.loads(body)["error"]["message"])


async def test_slow_clients_are_ended_and_hold_up_nobody(http: httpx.AsyncClient, alone: Installation) -> None:
    key = next(iter(alone.keys.values()))
    post = f"POST /v1/generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer {key}\r\n"
    begun = f"{post}Content-Length: 1000\r\n\r\n".encode()
    refused = b"POST /v1/generate HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    drops = [b" "] * 40
    async with asyncio.TaskGroup() as group:
        silent = group.create_task(told(http))
        head = group.create_task(told(http, b"GET /health/live HTTP/1.1\r\nX-Slow: ", *drops, every_s=0.5))
        body = group.create_task(told(http, begun, *drops, every_s=0.5))
        leftover = group.create_task(told(http, refused, *drops, every_s=0.5))
        second = group.create_task(
            told(http, b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /", *drops, every_s=0.5)
        )
        await asyncio.sleep(1)
        began = time.monotonic()
        assert (await http.get("/health/live")).status_code == 200
        assert time.monotonic() - began < 2
    for slow, status in ((silent, 408), (head, 408), (body, 408)):
        assert slow.result()[0] == status
        assert 8 < slow.result()[2] < 16
        assert "arrive" in said(slow.result()[1]) or "slowly" in said(slow.result()[1])
    assert leftover.result()[0] == 401
    assert 3 < leftover.result()[2] < 9
    assert second.result()[0] == 200
    assert second.result()[2] < 16


@pytest.mark.parametrize(
    "pieces",
    [
        lambda: [b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEAD_BYTES + b"\r\n\r\n"],
        lambda: [b"GET / HTTP/1.1\r\n", *[b"X: " + b"x" * 1000 + b"\r\n"] * 40],
        lambda: [b"GET /" + b"x" * MAX_HEAD_BYTES, b"x" * 1000],
    ],
    ids=["one header", "many headers", "a long path"],
)
async def test_headers_that_are_too_large(http: httpx.AsyncClient, pieces: Callable[[], list[bytes]]) -> None:
    status, body, seconds = await told(http, *pieces())
    assert (status, seconds < 5) == (431, True)
    assert str(MAX_HEAD_BYTES) in said(body)


async def test_who_leaves_in_the_middle_of_a_body_is_no_fault_of_ours(
    http: httpx.AsyncClient, alone: Installation
) -> None:
    key = next(iter(alone.keys.values()))
    _, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
    head = f"POST /v1/generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer {key}\r\n"
    writer.write(f"{head}Content-Length: 1000\r\n\r\n{{".encode())
    await asyncio.sleep(0.3)
    writer.close()
    async with asyncio.timeout(10):
        while 'status="499"' not in (told_so := (await http.get("/metrics")).text):  # noqa: ASYNC110 - it is the server's to count
            await asyncio.sleep(0.05)
    assert 'status="500"' not in told_so


async def test_what_is_no_http_is_answered_in_the_one_shape(http: httpx.AsyncClient) -> None:
    for garbage in (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03", b"GET / HTTP/9.9\r\n\r\n", b"\x00" * 100):
        status, body, _ = await told(http, garbage)
        assert status == 400
        assert "HTTP/1.1" in said(body)


async def test_connections_above_the_limit_are_answered_503(http: httpx.AsyncClient) -> None:
    await http.get("/health/live")
    held = [await asyncio.open_connection(http.base_url.host, http.base_url.port) for _ in range(5)]
    async with httpx.AsyncClient(base_url=http.base_url) as other:
        answer = await other.get("/health/live")
        one_shape(answer, 503, "service_unavailable")
        assert answer.headers["retry-after"] == "1"
        assert (await http.get("/health/live")).status_code == 200, "who is connected is served"
        held[0][1].close()
        await held[0][1].wait_closed()
        async with asyncio.timeout(5):
            while (await other.get("/health/live")).status_code != 200:  # noqa: ASYNC110 - the server's own pace
                await asyncio.sleep(0.02)
    for _, writer in held:
        writer.close()


async def test_a_body_is_read_no_further_than_the_limit(http: httpx.AsyncClient) -> None:
    async def pieces(number: int) -> AsyncIterator[bytes]:
        for _ in range(number):
            yield b"x" * 2**16

    assert (await http.post("/length", content=pieces(16))).json() == 2**20
    one_shape(await http.post("/length", content=pieces(17)), 413, "record_too_large")


async def test_every_answer_has_safe_headers(http: httpx.AsyncClient) -> None:
    for path, status in (("/health/live", 200), ("/v1/tasks/x", 401), ("/nothing", 404), ("/docs", 200)):
        answer = await http.get(path, headers={"X-Request-Id": "mine-7"})
        assert answer.status_code == status
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-request-id"] == "mine-7"
        assert "server" not in answer.headers
    assert len((await http.get("/nothing", headers={"X-Request-Id": "a\tb"})).headers["x-request-id"]) == 32


async def test_pages_of_other_origins_may_call_it_only_where_they_are_named(alone: Installation) -> None:
    def preflight(origin: str) -> dict[str, str]:
        return {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
        }

    api = alone.settings.api.model_copy(update={"cors_origins": "https://cms.example.org https://other.example.org"})
    async with served(create_app(alone.settings.model_copy(update={"api": api}))) as http:
        allowed = await http.options("/v1/generate", headers=preflight("https://other.example.org"))
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == "https://other.example.org"
        refused = await http.options("/v1/generate", headers=preflight("https://evil.example.org"))
        assert "access-control-allow-origin" not in refused.headers
        answer = await http.post("/v1/generate", headers={"Origin": "https://cms.example.org"})
        assert answer.status_code == 401
        assert answer.headers["access-control-allow-origin"] == "https://cms.example.org"
        assert "Retry-After" in answer.headers["access-control-expose-headers"]
        assert "access-control-allow-credentials" not in answer.headers
    async with served(create_app(alone.settings)) as http:
        none = await http.options("/v1/generate", headers=preflight("https://cms.example.org"))
        assert none.status_code == 405
        assert "access-control-allow-origin" not in none.headers
