"""Calls to URLs that a tenant names lead nowhere within, and are bounded in size, type and time."""

from __future__ import annotations

import asyncio
import gzip
import io
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from schemas.addresses import AllowList
from schemas.settings import OutboundSettings
from tests.transport.servers import Asked, answer, certificate, serving
from transport.errors import AddressRefused, AnswerRefused, Unavailable
from transport.outbound import Fetched, OutboundPolicy, fetch, post

PICTURE = b"\x89PNG" + bytes(range(256)) * 40
STRICT = OutboundPolicy(ports=None, plain_http=True)
HERE = OutboundPolicy(ports=None, plain_http=True, allow=AllowList.read("127.0.0.0/8"))
"""Our own servers listen on this machine."""


class Names:
    """A resolver that answers what it is told, one answer after the other."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, name: str) -> Sequence[str]:
        self.asked.append(name)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


async def get(
    url: str, policy: OutboundPolicy, *, max_bytes: int = 1_000_000, timeout_s: float = 5.0
) -> tuple[Fetched, bytes]:
    file = io.BytesIO()
    found = await fetch(url, file, policy=policy, max_bytes=max_bytes, timeout_s=timeout_s, types=["image/png"])
    return found, file.getvalue()


def opened(port: int, words: str) -> OutboundPolicy:
    settings = OutboundSettings(ports=f"80,{port}", allow=words, plain_http=True)
    return replace(OutboundPolicy.of(settings), resolve=Names(["127.0.0.1"]))


async def refused(url: str, policy: OutboundPolicy = STRICT) -> str:
    with pytest.raises(AddressRefused) as raised:
        await get(url, policy)
    return str(raised.value)


class TestWhatMayBeCalled:
    @pytest.mark.parametrize(
        "host",
        [
            "127.0.0.1",
            "127.1",
            "0x7f000001",
            "2130706433",
            "017700000001",
            "localhost",
            "localhost.",
            "LOCALHOST",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "0",
            "169.254.169.254",
            "10.0.0.1",
            "100.64.3.4",
            "[fe80::1]",
            "[fd00:ec2::254]",
            "①②⑦.⓪.⓪.①",
        ],
    )
    async def test_no_spelling_of_an_address_within_is(self, host: str) -> None:
        # All the ways in which the system's own resolver reads an address.
        async with serving(answer(200, PICTURE, content_type="image/png")) as server:
            with pytest.raises((AddressRefused, Unavailable)) as raised:
                await get(f"http://{host}:{server.port}/", STRICT)
            assert "127.0.0.1" not in str(raised.value.what)
        assert server.asked == []

    @pytest.mark.parametrize(
        ("url", "why"),
        [
            ("http://example.org/a.png", "scheme"),
            ("ftp://example.org/a.png", "scheme"),
            ("file:///etc/passwd", "no URL"),
            ("gopher://example.org/", "scheme"),
            ("//example.org/", "scheme"),
            ("https:///a.png", "no URL"),
            ("https://", "no URL"),
            ("not a url", "no URL"),
            ("https://user@example.org/", "user name"),
            ("https://user:secret@example.org/", "user name"),
            ("https://example.org\\@127.0.0.1/", "user name"),
            ("https://example.org:22/", "port 22"),
            ("https://example.org:8443/", "port 8443"),
            ("https://example.org/\x00", "no URL"),
            ("https://example.org:0/", "no URL"),
            ("https://example.org:99999/", "no URL"),
            ("https://xn--.example.org/", "no URL"),
            ("https://example.org/" + "a" * 3_000, "no URL"),
        ],
    )
    async def test_a_url_says_by_itself_that_it_is_not(self, url: str, why: str) -> None:
        names = Names(["127.0.0.1"])
        said = await refused(url, OutboundPolicy(resolve=names))
        assert why in said
        assert "secret" not in said
        assert names.asked == []

    async def test_a_name_that_is_public_and_private_at_once_is_not(self) -> None:
        async with serving(answer(200, PICTURE, content_type="image/png")) as server:
            for addresses in (["93.184.216.34", "10.0.0.1"], ["127.0.0.1", "93.184.216.34"], ["2606:4700::1", "::1"]):
                said = await refused(f"http://x.example:{server.port}/", replace(STRICT, resolve=Names(addresses)))
                assert "x.example" in said
                # What the name leads to within is nobody's business outside.
                assert not any(address in said for address in addresses)
        assert server.asked == []

    async def test_a_name_without_an_address_can_be_tried_again(self) -> None:
        with pytest.raises(Unavailable, match="no address"):
            await get("http://x.example/", replace(STRICT, resolve=Names([])))

    async def test_a_name_is_looked_up_once_and_called_at_what_was_looked_at(self) -> None:
        # The second answer is for whoever would look again between the check and the connection.
        names = Names(["127.0.0.1"], ["10.0.0.1"])
        async with serving(answer(200, PICTURE, content_type="image/png")) as server:
            found, body = await get(f"http://cms.internal:{server.port}/a", replace(HERE, resolve=names))
        assert (body, found.media_type, found.size) == (PICTURE, "image/png", len(PICTURE))
        assert names.asked == ["cms.internal"]
        assert server.asked[0].headers["host"] == f"cms.internal:{server.port}"

    async def test_each_redirect_is_looked_at_anew(self) -> None:
        names = Names(["127.0.0.1"], ["10.0.0.1"])

        async def again(asked: Asked, writer: asyncio.StreamWriter) -> None:
            await answer(302, location="/there")(asked, writer)

        async with serving(again) as server:
            with pytest.raises(AddressRefused):
                await get(
                    f"http://turns.example:{server.port}/",
                    OutboundPolicy(ports=None, plain_http=True, resolve=names, allow=AllowList.read("127.0.0.1")),
                )
        assert len(names.asked) == 2
        assert len(server.asked) == 1

    @pytest.mark.parametrize(
        "location",
        [
            "http://169.254.169.254/latest/meta-data/",
            "http://10.0.0.1/",
            "http://[::ffff:10.0.0.1]/",
            "file:///etc/passwd",
            "http://user:pw@93.184.216.34/",
        ],
    )
    async def test_a_redirect_leads_nowhere_else(self, location: str) -> None:
        async with serving(answer(302, location=location)) as server:
            await refused(f"http://127.0.0.1:{server.port}/", HERE)

    async def test_an_operator_opens_a_network_or_a_name(self) -> None:
        async with serving(answer(200, PICTURE, content_type="image/png")) as server:
            for words in ("127.0.0.1", "127.0.0.0/8", "cms.internal"):
                assert (await get(f"http://cms.internal:{server.port}/", opened(server.port, words)))[1] == PICTURE
            other = f"http://other.example:{server.port}/"
            assert "not on the public internet" in await refused(other, opened(server.port, "cms.internal"))

    def test_the_defaults_are_the_strict_ones(self) -> None:
        assert OutboundPolicy.of(OutboundSettings()) == OutboundPolicy(frozenset({443}), AllowList(), plain_http=False)

    async def test_no_proxy_is_taken_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with serving(answer(200, b"by proxy", content_type="image/png")) as proxy:
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            async with serving(answer(200, PICTURE, content_type="image/png")) as server:
                assert (await get(f"http://127.0.0.1:{server.port}/", HERE))[1] == PICTURE
        assert proxy.asked == []


class TestTls:
    async def test_the_certificate_must_be_that_of_the_name(self, tmp_path: Path) -> None:
        mine, believed = certificate(tmp_path, "pictures.example")
        async with serving(answer(200, PICTURE, content_type="image/png"), tls=mine) as server:
            policy = OutboundPolicy(
                ports=None, allow=AllowList.read("127.0.0.1"), resolve=Names(["127.0.0.1"]), tls=believed
            )
            assert (await get(f"https://pictures.example:{server.port}/", policy))[1] == PICTURE
            with pytest.raises(Unavailable):
                await get(f"https://others.example:{server.port}/", policy)
            with pytest.raises(Unavailable):
                await get(f"https://pictures.example:{server.port}/", replace(policy, tls=None))


class TestLimits:
    async def test_three_redirects_are_followed_and_no_fourth(self) -> None:
        async def turns(asked: Asked, writer: asyncio.StreamWriter) -> None:
            left = int(asked.target.removeprefix("/"))
            if left:
                await answer(307, location=f"/{left - 1}")(asked, writer)
            else:
                await answer(200, PICTURE, content_type="image/png")(asked, writer)

        async with serving(turns) as server:
            found, body = await get(f"http://127.0.0.1:{server.port}/3", HERE)
            assert body == PICTURE
            assert found.url.endswith("/0")
            with pytest.raises(AnswerRefused, match="3 redirects"):
                await get(f"http://127.0.0.1:{server.port}/4", HERE)

    @pytest.mark.parametrize("declared", [True, False])
    async def test_what_is_too_large_is_not_read_to_its_end(self, declared: bool) -> None:
        sent = 0

        async def endless(_: Asked, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            length = "content-length: 99999999\r\n" if declared else ""
            writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n{length}\r\n".encode())
            while True:
                writer.write(bytes(65_536))
                sent += 65_536
                await writer.drain()

        async with serving(endless) as server:
            with pytest.raises(AnswerRefused, match="larger than 100000 bytes"):
                await get(f"http://127.0.0.1:{server.port}/", HERE, max_bytes=100_000)
        assert sent < 20_000_000

    async def test_nothing_is_unpacked(self) -> None:
        packed = gzip.compress(bytes(10_000_000))
        async with serving(answer(200, packed, content_type="image/png", content_encoding="gzip")) as server:
            with pytest.raises(AnswerRefused, match="compressed"):
                await get(f"http://127.0.0.1:{server.port}/", HERE)
        assert server.asked[0].headers["accept-encoding"] == "identity"

    @pytest.mark.parametrize("media_type", ["text/html", "application/json; charset=utf-8", "", "image/svg+xml"])
    async def test_another_type_is_not_taken(self, media_type: str) -> None:
        async with serving(answer(200, PICTURE, content_type=media_type)) as server:
            with pytest.raises(AnswerRefused, match="type"):
                await get(f"http://127.0.0.1:{server.port}/", HERE)

    @pytest.mark.parametrize("status", [204, 301, 304, 401, 404, 500])
    async def test_another_status_is_not_taken(self, status: int) -> None:
        async with serving(answer(status, b"", content_type="image/png")) as server:
            with pytest.raises(AnswerRefused, match=str(status)):
                await get(f"http://127.0.0.1:{server.port}/", HERE)

    async def test_a_byte_at_a_time_ends_at_the_limit_of_the_whole(self) -> None:
        async def drips(_: Asked, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 1000\r\n\r\n")
            for _byte in range(1_000):
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.02)

        async with serving(drips) as server:
            began = time.monotonic()
            with pytest.raises(Unavailable, match=r"within 0\.4 s"):
                await get(f"http://127.0.0.1:{server.port}/", HERE, timeout_s=0.4)
            assert time.monotonic() - began < 3

    async def test_a_server_that_hangs_up_can_be_tried_again(self) -> None:
        async def hangs_up(_: Asked, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 1000\r\n\r\nhalf")

        async with serving(hangs_up) as server:
            with pytest.raises(Unavailable):
                await get(f"http://127.0.0.1:{server.port}/", HERE)
        with pytest.raises(Unavailable):
            await get(f"http://127.0.0.1:{server.port}/", HERE)


class TestPost:
    async def test_the_body_arrives_and_the_answer_is_told(self) -> None:
        async with serving(answer(503, b"x" * 10_000, retry_after="7")) as server:
            posted = await post(
                f"http://127.0.0.1:{server.port}/hook?a=b",
                body=b'{"a": 1}',
                headers={"content-type": "application/json", "webhook-id": "1"},
                policy=HERE,
                timeout_s=5,
            )
        assert (posted.status, posted.headers["retry-after"], posted.head) == (503, "7", b"x" * 4_096)
        (asked,) = server.asked
        assert (asked.method, asked.target, asked.body) == ("POST", "/hook?a=b", b'{"a": 1}')
        assert (asked.headers["content-type"], asked.headers["webhook-id"]) == ("application/json", "1")

    async def test_no_redirect_is_followed(self) -> None:
        async with serving(answer(307, location="http://169.254.169.254/")) as server:
            url = f"http://127.0.0.1:{server.port}/"
            assert (await post(url, body=b"", headers={}, policy=HERE, timeout_s=5)).status == 307

    async def test_what_lies_within_is_not_called(self) -> None:
        async with serving(answer(200)) as server:
            with pytest.raises(AddressRefused):
                await post(f"http://localhost:{server.port}/", body=b"", headers={}, policy=STRICT, timeout_s=5)
        assert server.asked == []
