"""Ten thousand requests that nobody would send by mistake: none is answered 500, each is answered."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from tests.house import House
from tests.producer_api.hostile_bodies import Sent, hostile_requests

NUMBER = 10_000
CONNECTIONS = 16
SELDOM = ("/token",)
"""Each try at a password is to take its time."""


class Client:
    """One connection at a time; a new one whenever the server has closed it."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._address = (http.base_url.host, http.base_url.port)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, sent: Sent) -> tuple[int, bytes]:
        reader, writer = self._streams or await asyncio.open_connection(*self._address)
        self._streams = (reader, writer)
        writer.write(sent.raw)
        async with asyncio.timeout(60):
            while (head := await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100"):
                pass
            status, lowered = int(head.split()[1]), head.lower()
            if b"transfer-encoding: chunked" in lowered:
                body = b""
                while size := int(await reader.readline(), 16):
                    body += (await reader.readexactly(size + 2))[:-2]
                await reader.readline()
            else:
                length = lowered.partition(b"content-length: ")[2].partition(b"\r")[0]
                body = await reader.readexactly(int(length or 0))
        if b"connection: close" in lowered:
            self.close()
        return status, body

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


@pytest.mark.timeout(600)
async def test_no_body_is_answered_500(http: httpx.AsyncClient, house: House) -> None:
    # Some routes answer with the pictures.
    house.worker()
    document = (await http.get("/openapi.json")).json()
    posts = [("POST", path) for path, operations in document["paths"].items() if "post" in operations]
    others = [
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method in operations
        if method not in ("post", "head") and path.startswith(("/v1", "/api"))
    ]
    often = [route for route in posts if not route[1].startswith(SELDOM)] * 20 + others
    routes = often + [route for route in posts if route[1].startswith(SELDOM)]
    requests = hostile_requests(routes, NUMBER, seed=7, key="acme")
    statuses: Counter[tuple[str, int]] = Counter()
    wrong: list[str] = []

    async def work(requests: Iterator[Sent]) -> None:
        client = Client(http)
        for sent in requests:
            try:
                status, body = await client.ask(sent)
            except Exception as error:
                client.close()
                wrong.append(f"{error!r}: {sent.raw[:600]!r}")
                continue
            statuses[sent.route, status] += 1
            if status >= 500 or (status >= 400 and "error" not in json.loads(body)):
                wrong.append(f"{status} {body[:300]!r}: {sent.raw[:600]!r}")
        client.close()

    await asyncio.gather(*(work(requests) for _ in range(CONNECTIONS)))
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(wrong[:10])
    assert statuses.total() == NUMBER
    assert {route for route, _ in statuses} == {f"{method} {path}" for method, path in routes}
    assert any(route == "POST /v1/generate" and status == 202 for route, status in statuses), statuses
    assert (await http.get("/health/ready")).status_code == 200
