"""The store keeps what it is given, and its failures come sorted."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import time
from datetime import UTC, datetime

import httpx
import psutil
import pytest
from pydantic import SecretStr

from schemas.connection import StoreSettings
from tests.stack import fresh_name
from tests.transport.servers import Asked, answer, serving
from tests.until import until
from transport.errors import Misconfigured, NotFound, Unavailable
from transport.objects import ObjectStore

PICTURE = bytes(range(256)) * 1_000


async def test_an_object_comes_back_as_it_was_stored(store: StoreSettings) -> None:
    async with ObjectStore(store) as objects:
        key = "outputs/acme/2026/11/21/id/0-abc é.png"
        assert not await objects.exists(key)
        await objects.put(key, PICTURE, content_type="image/png", metadata={"seed": "7"})
        assert await objects.exists(key)
        assert await objects.get(key) == PICTURE
        info = await objects.stat(key)
        assert (info.key, info.size, info.content_type) == (key, len(PICTURE), "image/png")
        assert info.etag == hashlib.md5(PICTURE, usedforsecurity=False).hexdigest()
        assert abs((datetime.now(UTC) - info.last_modified).total_seconds()) < 120

        await objects.put(key, b"", content_type="text/plain")
        assert await objects.get(key) == b""
        await objects.delete(key)
        await objects.delete(key)
        assert not await objects.exists(key)


async def test_of_several_who_make_an_object_one_does(store: StoreSettings) -> None:
    async with ObjectStore(store) as objects:
        made = await asyncio.gather(*(objects.put_new("one", b"%d" % n, content_type="text/plain") for n in range(8)))
        assert sum(made) == 1
        assert await objects.get("one") == b"%d" % made.index(True)
        await objects.delete("one")
        assert await objects.put_new("one", b"", content_type="text/plain")


async def test_a_part_of_an_object_is_streamed(store: StoreSettings) -> None:
    async with ObjectStore(store) as objects:
        await objects.put("a", PICTURE, content_type="image/png")
        assert b"".join([piece async for piece in objects.stream("a")]) == PICTURE
        assert b"".join([piece async for piece in objects.stream("a", offset=1_000)]) == PICTURE[1_000:]
        part = [piece async for piece in objects.stream("a", offset=100, length=70_000)]
        assert b"".join(part) == PICTURE[100:70_100]
        assert len(part) > 1
        # Left half-way, and the store serves on.
        stream = objects.stream("a")
        assert await anext(aiter(stream))
        await stream.aclose()  # type: ignore[attr-defined]
        assert await objects.get("a") == PICTURE


async def test_what_is_not_there_is_not_found(store: StoreSettings) -> None:
    async with ObjectStore(store) as objects:
        with pytest.raises(NotFound, match="nothing/here"):
            await objects.get("nothing/here")
        with pytest.raises(NotFound):
            await objects.stat("nothing/here")
        with pytest.raises(NotFound):
            _ = [piece async for piece in objects.stream("nothing/here")]


async def test_a_signed_url_reads_for_as_long_as_it_lives(store: StoreSettings) -> None:
    async with ObjectStore(store) as objects, httpx.AsyncClient(timeout=10) as browser:
        await objects.put("a b.png", PICTURE, content_type="image/png")
        url = objects.presign_get("a b.png", 5.0)
        answer = await browser.get(url)
        assert (answer.status_code, answer.content) == (200, PICTURE)
        assert answer.headers["content-type"] == "image/png"
        assert (await browser.get(url.split("?")[0])).status_code == 403
        await asyncio.sleep(6.0)
        assert (await browser.get(url)).status_code == 403


async def test_a_signed_url_names_the_host_under_which_readers_know_the_store(store: StoreSettings) -> None:
    public = store.model_copy(update={"public_url": "https://pictures.example.com"})
    async with ObjectStore(public) as objects:
        url = objects.presign_get("a.png", 5.0)
        assert url.startswith(f"https://pictures.example.com/{store.bucket}/a.png?")
        # Its own calls go where they went.
        assert not await objects.exists("a.png")


async def test_a_listing_has_every_key_of_the_prefix_in_order(store: StoreSettings) -> None:
    async with ObjectStore(store) as objects:
        keys = [f"a/{number:03}" for number in range(12)] + ["b/0"]
        await asyncio.gather(*(objects.put(key, key.encode(), content_type="text/plain") for key in keys))
        found = [info async for info in objects.list("a/")]
        assert [info.key for info in found] == keys[:-1]
        assert {info.size for info in found} == {5}
        assert [info async for info in objects.list("c/")] == []


async def test_a_bucket_is_made_once(store: StoreSettings) -> None:
    fresh = store.model_copy(update={"bucket": fresh_name()})
    async with ObjectStore(fresh) as objects:
        with pytest.raises(Misconfigured, match="NoSuchBucket"):
            await objects.get("a")
        assert await objects.ensure_bucket()
        assert not await objects.ensure_bucket()


async def test_wrong_keys_and_names_are_a_matter_for_a_person(store: StoreSettings) -> None:
    wrong = store.model_copy(update={"secret_key": SecretStr("not the secret")})
    async with ObjectStore(wrong) as objects:
        with pytest.raises(Misconfigured, match="SignatureDoesNotMatch") as caught:
            await objects.put("a", b"x", content_type="text/plain")
        assert "not the secret" not in str(caught.value)
    async with ObjectStore(store.model_copy(update={"bucket": "_"})) as objects:
        with pytest.raises(Misconfigured, match="bucket"):
            await objects.ensure_bucket()


async def test_a_store_that_is_away_or_silent_is_unavailable_in_time(store: StoreSettings) -> None:
    away = store.model_copy(update={"endpoint": "127.0.0.1:1", "timeout_s": 3.0})
    async with ObjectStore(away) as objects:
        start = time.monotonic()
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
            await objects.get("a")
        assert time.monotonic() - start < 7.0

    # It accepts the connection, and never answers.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"127.0.0.1:{silent.getsockname()[1]}"
        async with ObjectStore(store.model_copy(update={"endpoint": endpoint, "timeout_s": 1.0})) as objects:
            start = time.monotonic()
            with pytest.raises(Unavailable):
                await objects.put("a", b"x", content_type="text/plain")
            assert time.monotonic() - start < 5.0


async def test_a_store_that_says_when_to_come_back_keeps_no_thread_asleep(store: StoreSettings) -> None:
    busy = True

    async def handler(asked: Asked, writer: asyncio.StreamWriter) -> None:
        said = answer(503, retry_after="60") if busy else answer(200, etag='"x"')
        await said(asked, writer)

    async with serving(handler) as server:
        away = store.model_copy(update={"endpoint": f"127.0.0.1:{server.port}", "timeout_s": 6.0})
        async with ObjectStore(away) as objects:
            # More of them than there are threads.
            calls = (objects.put(f"key-{number}", b"x", content_type="text/plain") for number in range(40))
            found = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(one) for one in found} == {Unavailable}
            busy = False
            await objects.put("key", b"x", content_type="text/plain")


async def test_a_reader_that_leaves_takes_its_connection_along(store: StoreSettings) -> None:
    """While the store is silent, and in the middle of a picture: the loop goes on, and no socket stays."""
    begin, end = asyncio.Event(), asyncio.Event()

    async def handler(_: Asked, writer: asyncio.StreamWriter) -> None:
        await begin.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n" + bytes(100_000))
        await end.wait()

    async def read(objects: ObjectStore) -> None:
        async for _ in objects.stream("key"):
            pass

    async with serving(handler) as server, asyncio.timeout(20):

        def open_sockets() -> int:
            return [one.raddr[1:] for one in psutil.Process().net_connections()].count((server.port,))

        slow = store.model_copy(update={"endpoint": f"127.0.0.1:{server.port}", "timeout_s": 9.0})
        async with ObjectStore(slow) as objects:
            for goes_on in (begin, end):
                reading = asyncio.create_task(read(objects))
                await asyncio.sleep(0.3)
                before = time.monotonic()
                reading.cancel()
                await asyncio.wait([reading])
                assert time.monotonic() - before < 0.5
                assert open_sockets() == 1
                goes_on.set()
                await until(lambda: not open_sockets())
