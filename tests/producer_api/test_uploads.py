"""Pictures that come with HTTP: uploaded, in the body of a request, or fetched from where it says that they are."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import random
import resource
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from ops.local.ports import free_port
from producer_api.app import create_app
from schemas.connection import KafkaSettings, StoreSettings
from schemas.envelope import Envelope
from schemas.ids import new_id, nth_id
from schemas.settings import OutboundSettings, Settings
from tests.consumer.generation.harness import write_null_models
from tests.producer_api.conftest import Api
from tests.producer_api.pictures import bomb, drawn, file_of, noise
from tests.producer_api.support import OTHER, TENANT, Installation, accepted, answer_requests, install, served
from tests.producer_api.test_tasks import OLD, keep_made
from tests.stage import Stage
from tests.transport.servers import answer, serving
from transport.objects import ObjectStore
from transport.tail import read_partition

PICTURE = file_of(drawn(), "JPEG")


def error_of(answered: httpx.Response) -> dict[str, Any]:
    """The one error shape."""
    (body,) = answered.json().values()
    assert set(body) == {"message", "type", "param", "code"}
    return dict(body)


def data_url(data: bytes, media_type: str = "image/jpeg") -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


class Shop:
    """The API on the real store alone: nothing here needs Kafka."""

    def __init__(self, http: httpx.AsyncClient, installation: Installation) -> None:
        self.http = http
        self.installation = installation

    async def post(
        self,
        content: bytes | AsyncIterator[bytes] | None = None,
        media_type: str = "",
        tenant: str = TENANT,
        **more: Any,
    ) -> httpx.Response:
        headers = self.installation.headers(tenant) | ({"Content-Type": media_type} if media_type else {})
        return await self.http.post("/v1/uploads", content=content, headers=headers, **more)


@pytest.fixture
def nowhere(store: StoreSettings, tmp_path: Path) -> Installation:
    kafka = KafkaSettings(bootstrap_servers=f"127.0.0.1:{free_port()}")
    return install(Settings(kafka=kafka, store=store), tmp_path)


@pytest.fixture
async def shop(nowhere: Installation) -> AsyncIterator[Shop]:
    async with served(create_app(nowhere.settings)) as http:
        yield Shop(http, nowhere)


class TestUploads:
    async def test_a_form_and_a_body_of_the_same_picture_are_the_same(self, shop: Shop) -> None:
        raw = await shop.post(PICTURE, "image/jpeg")
        assert raw.status_code == 201, raw.text
        said = raw.json()
        assert said["key"] == f"sources/{TENANT}/{said['sha256']}.jpg"
        assert (said["width"], said["height"], said["media_type"]) == (48, 32, "image/jpeg")
        form = await shop.post(files={"file": ("me.jpg", PICTURE, "image/jpeg")})
        untyped = await shop.post(PICTURE, "application/octet-stream")
        assert form.json() == untyped.json() == said
        async with ObjectStore(shop.installation.settings.store) as objects:
            assert [one.key async for one in objects.list("")] == [said["key"]]
            assert (await objects.stat(said["key"])).size == said["bytes"]
        other = await shop.post(PICTURE, "image/jpeg", OTHER)
        assert other.json()["key"].startswith(f"sources/{OTHER}/")

    @pytest.mark.parametrize(
        ("sent", "status", "why"),
        [
            ({"content": b"x" * 100, "media_type": "image/png"}, 400, "no png, jpeg or webp"),
            ({"content": b"", "media_type": "image/png"}, 400, "0 bytes"),
            ({"content": bomb(), "media_type": "image/png"}, 400, "60000x60000"),
            ({"content": PICTURE, "media_type": "image/png"}, 400, "said to be 'image/png'"),
            ({"content": PICTURE, "media_type": "image/gif"}, 415, "image/gif"),
            ({"content": PICTURE}, 415, "send multipart/form-data"),
            ({"content": PICTURE, "media_type": "multipart/form-data"}, 400, "the form can't be read"),
            ({"content": PICTURE, "media_type": "multipart/form-data; boundary=x"}, 400, "form"),
            ({"files": {"image": ("me.jpg", PICTURE)}}, 400, "no file in the field 'file'"),
            ({"files": {"file": ("a", PICTURE), "more": ("b", PICTURE)}}, 400, "Too many files"),
            ({"data": {"file": "text"}, "files": {"x": ("b", b"")}}, 400, "no file in the field 'file'"),
        ],
    )
    async def test_what_can_not_be_kept_is_refused(
        self, shop: Shop, sent: Mapping[str, Any], status: int, why: str
    ) -> None:
        refused = await shop.post(**sent)
        assert (refused.status_code, why in error_of(refused)["message"]) == (status, True), refused.text

    async def test_no_more_is_read_than_may_be_sent(self, shop: Shop) -> None:
        sent = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal sent
            yield PICTURE
            while sent < 100 * 2**20:
                sent += 2**20
                yield bytes(2**20)

        # The answer may be lost to a client that is still sending.
        with contextlib.suppress(httpx.ReadError, httpx.WriteError):
            refused = await shop.post(content=endless(), media_type="image/jpeg")
            assert (refused.status_code, error_of(refused)["code"]) == (413, "record_too_large")
        assert sent < 50 * 2**20

    async def test_no_one_uploads_without_a_key(self, shop: Shop) -> None:
        assert (await shop.http.post("/v1/uploads", content=PICTURE)).status_code == 401

    async def test_a_suspended_tenant_fills_no_store(self, nowhere: Installation) -> None:
        tenants = nowhere.settings.tenants
        tenants.write_text(tenants.read_text().replace(f"- id: {TENANT}\n", f"- id: {TENANT}\n    status: suspended\n"))
        models = write_null_models(tenants.parent)
        async with served(create_app(nowhere.settings.model_copy(update={"models": models}))) as http:
            shop = Shop(http, nowhere)
            inline = {"prompt": "x", "model": "nothing", "source_image": data_url(PICTURE), "strength": 0.5}
            headers = nowhere.headers(TENANT)
            refused = [
                await shop.post(PICTURE, "image/jpeg"),
                await http.post("/v1/generate", json=inline, headers=headers),
                await http.post(
                    "/v1/images/edits", data={"prompt": "x"}, files={"image": ("a.jpg", PICTURE)}, headers=headers
                ),
            ]
            assert [(one.status_code, error_of(one)["code"]) for one in refused] == [(403, "tenant_suspended")] * 3
            assert (await shop.post(PICTURE, "image/jpeg", OTHER)).status_code == 201


@pytest.fixture
async def own_process(nowhere: Installation, tmp_path: Path) -> AsyncIterator[tuple[Shop, int]]:
    """The API in a process of its own, with few files to open at first, and its pid."""
    settings, port = nowhere.settings, free_port()
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1_024, files[1]))
    keys = settings.store
    assert keys.access_key is not None
    assert keys.secret_key is not None
    stage = Stage(
        "api",
        tmp_path / "api.log",
        port,
        {
            "EASEL_TENANTS": str(settings.tenants),
            "EASEL_API_PORT": str(port),
            "EASEL_API_SIGNING_KEY_FILE": str(tmp_path / "api.secret"),
            "EASEL_API_STATE_FILE": str(tmp_path / "api.sqlite"),
            "EASEL_KAFKA_BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
            "EASEL_STORE_ENDPOINT": keys.endpoint,
            "EASEL_STORE_BUCKET": keys.bucket,
            "EASEL_STORE_ACCESS_KEY": keys.access_key.get_secret_value(),
            "EASEL_STORE_SECRET_KEY": keys.secret_key.get_secret_value(),
        },
        module="producer_api",
    ).start()
    resource.setrlimit(resource.RLIMIT_NOFILE, files)
    try:
        await stage.until(lambda: stage.get("/health/live")[0] == 200, 60, "it does not answer")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
            yield Shop(http, nowhere), stage.pid
    finally:
        stage.kill()


async def test_thirty_megabytes_do_not_pass_through_memory(own_process: tuple[Shop, int]) -> None:
    """In a process of its own: what it takes at most, before and after."""
    shop, pid = own_process
    picture = file_of(noise(3_200, 3_200))
    assert len(picture) > 30_000_000
    # More than the 5 MiB that go to the store in one piece.
    piece = file_of(noise(1_500, 1_500))
    # Once in each way, so that neither what is imported at the first of them is counted, nor the buffers of a piece.
    for sent in ({"files": {"file": ("a.png", piece)}}, {"content": piece, "media_type": "image/png"}):
        assert (await shop.post(**sent)).status_code == 201
    before = peak_mib(pid)
    for sent in ({"files": {"file": ("a.png", picture)}}, {"content": picture, "media_type": "image/png"}):
        answered = await shop.post(**sent)
        assert answered.status_code == 201, answered.text
        assert answered.json()["bytes"] > 30_000_000
    assert peak_mib(pid) - before < 16
    assert psutil.Process(pid).children() == []
    # It may be started with few files, and needs one for each connection.
    assert psutil.Process(pid).rlimit(psutil.RLIMIT_NOFILE)[0] >= shop.installation.settings.api.connections


async def test_nor_do_they_when_they_are_fetched_by_several_at_once(own_process: tuple[Shop, int]) -> None:
    shop, pid = own_process
    pictures = [b"small", random.Random(7).randbytes(20_000_000)]
    ids = [nth_id(OLD, number) for number in range(2)]
    async with ObjectStore(shop.installation.settings.store) as objects:
        for id_, picture in zip(ids, pictures, strict=True):
            await keep_made(objects, id_, picture)

    async def fetched(id_: str) -> str:
        headers, found = shop.installation.headers(), hashlib.sha256()
        async with shop.http.stream("GET", f"/v1/tasks/{id_}/images/0", headers=headers) as answered:
            assert answered.status_code == 200
            async for piece in answered.aiter_bytes():
                found.update(piece)
        return found.hexdigest()

    await fetched(ids[0])
    before = peak_mib(pid)
    assert set(await asyncio.gather(*(fetched(ids[1]) for _ in range(4)))) == {hashlib.sha256(pictures[1]).hexdigest()}
    assert peak_mib(pid) - before < 16


def peak_mib(pid: int) -> float:
    """The most memory that a process has held."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


async def published(api: Api) -> list[dict[str, Any]]:
    """The requests that lie on the topic."""
    settings = api.installation.settings.kafka
    topic = f"{settings.prefix}.requests"
    return [
        json.loads(Envelope.read(record.headers, record.value).data)
        for number in range(settings.partitions)
        async for batch in read_partition(settings, topic, number)
        for record in batch
    ]


class TestSourcesInARequest:
    async def post(self, api: Api, id_: str | None = None, **fields: Any) -> httpx.Response:
        headers = api.installation.headers() | {"Easel-Request-Id": id_ or new_id()}
        body = {"prompt": "a red circle", "model": "easel-tiny", **fields}
        return await api.http.post("/v1/generate", json=body, headers=headers)

    async def test_a_data_url_becomes_the_key_of_an_upload(self, api: Api) -> None:
        # Larger than any event may be.
        large = file_of(noise(400, 400))
        key = (
            await api.http.post(
                "/v1/uploads", content=large, headers=api.installation.headers() | {"Content-Type": "image/png"}
            )
        ).json()["key"]
        id_ = new_id()
        for _ in range(2):
            answering = asyncio.create_task(
                answer_requests(api.installation.settings.kafka, api.announcer, accepted(id_))
            )
            answered = await self.post(
                api, id_, source_image=data_url(large, "image/png"), mask_image=key, strength=0.5
            )
            assert answered.status_code == 202, answered.text
            await answering
        first, second = await published(api)
        assert first == second, "sent again it is another request"
        assert (first["source_image"], first["mask_image"], first["strength"]) == (key, key, 0.5)

    async def test_what_is_no_picture_is_refused_and_nothing_is_published(self, api: Api) -> None:
        for given, status, why in (
            (data_url(b"x" * 50), 400, "source_image: it is no png"),
            (data_url(PICTURE, "image/webp"), 400, "said to be 'image/webp'"),
            ("data:image/png;base64,@@@@", 400, "not base64"),
            ("data:image/png,abc", 400, "data URL does not begin"),
            ("data:text/html;base64,eA==", 400, "data URL does not begin"),
            ("https://example.org/a.png", 403, "URLs are not fetched here"),
            ("x" * 600, 400, "source_image"),
        ):
            refused = await self.post(api, source_image=given)
            assert (refused.status_code, why in error_of(refused)["message"]) == (status, True), refused.text
            assert error_of(refused)["param"] == "source_image"
        assert await published(api) == []

    async def test_a_large_body_is_large_for_its_pictures_alone(self, api: Api) -> None:
        refused = await self.post(api, prompt="a" * 300_000)
        assert (refused.status_code, error_of(refused)["code"]) == (400, "invalid_request")
        refused = await self.post(api, metadata={f"k{number}": "v" * 500 for number in range(600)})
        assert refused.status_code in (400, 413)


async def test_a_url_is_fetched_where_that_is_allowed(nowhere: Installation) -> None:
    api = nowhere.settings.api.model_copy(update={"source_urls": True, "decision_wait_s": 0.1})
    async with serving(answer(200, PICTURE, content_type="image/jpeg")) as server:
        outbound = OutboundSettings(ports="any", plain_http=True, allow="127.0.0.1")
        settings = nowhere.settings.model_copy(update={"api": api, "outbound": outbound})
        async with served(create_app(settings)) as http:

            async def ask(url: str) -> httpx.Response:
                body = {"prompt": "a", "model": "easel-tiny", "source_image": url}
                return await http.post("/v1/generate", json=body, headers=nowhere.headers())

            # There is no Kafka here: what comes so far has its source.
            asked = await ask(f"http://127.0.0.1:{server.port}/a.jpg")
            assert asked.status_code == 503, asked.text
            refused = await ask(f"http://localhost.:{server.port + 1}/a.jpg")
            assert refused.status_code in (400, 403)
            refused = await ask("http://169.254.169.254/latest/meta-data/")
            assert (refused.status_code, error_of(refused)["code"]) == (403, "source_not_allowed")
            assert "169.254" not in error_of(refused)["message"].replace("(169.254.169.254)", "")
    async with ObjectStore(settings.store) as objects:
        assert len([one async for one in objects.list(f"sources/{TENANT}/")]) == 1
    assert len(server.asked) == 1
