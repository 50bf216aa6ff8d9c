"""What callers send as a picture is kept as nothing but a picture, or refused."""

from __future__ import annotations

import asyncio
import hashlib
import io
import struct
from collections.abc import AsyncIterator
from typing import BinaryIO

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from producer_api.errors import ApiError
from producer_api.sources.keeping import Keeper, Kept
from schemas.connection import StoreSettings
from schemas.errors import Code, EaselError
from schemas.sources import MAX_SOURCE_BYTES, require_own_source
from tests.producer_api.pictures import bomb, drawn, file_of, noise
from transport.objects import ObjectStore

SECRET = b"taken at home, by Ann"


class Store:
    """A keeper on the real store, and what it has kept."""

    def __init__(self, objects: ObjectStore) -> None:
        self.objects = objects
        self.keeper = Keeper(objects)

    async def keep(self, data: bytes, said: str | None = None, tenant: str = "acme") -> Kept:
        async def write(file: BinaryIO) -> str | None:
            file.write(data)
            return said

        return await self.keeper.keep(tenant, write, param="source_image")

    async def kept(self, data: bytes) -> tuple[Kept, Image.Image, bytes]:
        found = await self.keep(data)
        body = await self.objects.get(found.key)
        return found, Image.open(io.BytesIO(body)), body

    async def refused(self, data: bytes, said: str | None = None) -> str:
        with pytest.raises(EaselError) as raised:
            await self.keep(data, said)
        assert (raised.value.code, raised.value.param) == (Code.SOURCE_INVALID, "source_image")
        assert [one async for one in self.objects.list("sources/")] == []
        return raised.value.message


@pytest.fixture
async def shop(store: StoreSettings) -> AsyncIterator[Store]:
    async with ObjectStore(store) as objects:
        yield Store(objects)


def pixels(image: Image.Image) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.asarray(image.convert("RGB")).astype(np.int64)


@pytest.mark.parametrize(
    ("kind", "options", "extension"),
    [
        ("PNG", {}, "png"),
        ("JPEG", {"quality": 80}, "jpg"),
        ("WEBP", {"quality": 80}, "webp"),
        ("WEBP", {"lossless": True}, "webp"),
    ],
)
async def test_a_picture_is_kept_under_the_hash_of_what_is_kept(
    shop: Store, kind: str, options: dict[str, object], extension: str
) -> None:
    data = file_of(drawn(), kind, **options)
    found, image, body = await shop.kept(data)
    assert found.sha256 == hashlib.sha256(body).hexdigest()
    assert found.key == f"sources/acme/{found.sha256}.{extension}"
    assert (found.bytes, found.width, found.height) == (len(body), 48, 32)
    assert (image.format, (await shop.objects.stat(found.key)).content_type) == (kind, found.media_type)
    require_own_source("acme", found.key, "source_image")
    difference = np.abs(pixels(image) - pixels(Image.open(io.BytesIO(data))))
    assert difference.mean() <= (0 if kind == "PNG" or options.get("lossless") else 2)
    assert await shop.keep(data) == found
    assert (await shop.keep(data, tenant="globex")).key.startswith("sources/globex/")


class TestWhatIsLeftOut:
    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
    async def test_it_is_upright_and_says_nothing_of_its_maker(self, shop: Store, kind: str) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        exif[0x010E] = SECRET.decode()
        _, image, body = await shop.kept(file_of(drawn(), kind, exif=exif))
        assert image.size == (32, 48)
        # Turned to the right: what was left is above.
        assert pixels(image)[4, 16, 0] > 150
        assert pixels(image)[44, 16, 2] > 150
        assert SECRET not in body
        assert not image.getexif()

    async def test_texts_comments_and_what_lies_behind_it_are_gone(self, shop: Store) -> None:
        texts = PngImagePlugin.PngInfo()
        texts.add_text("Author", SECRET.decode())
        texts.add_itxt("XML:com.adobe.xmp", SECRET.decode())
        archive = b"PK\x03\x04" + SECRET * 100
        for data in (
            file_of(drawn(), "PNG", pnginfo=texts) + archive,
            file_of(drawn(), "JPEG", comment=SECRET) + archive,
            file_of(drawn(), "WEBP", xmp=SECRET) + archive,
        ):
            assert SECRET in data
            _, image, body = await shop.kept(data)
            assert SECRET not in body
            assert b"PK\x03\x04" not in body
            assert image.size == (48, 32)

    async def test_what_is_transparent_stays_so_and_jpeg_of_printers_becomes_rgb(self, shop: Store) -> None:
        clear = drawn().convert("RGBA")
        clear.putalpha(Image.new("L", clear.size, 7))
        for kind in ("PNG", "WEBP"):
            _, image, _ = await shop.kept(file_of(clear, kind))
            assert image.getchannel("A").getextrema() == (7, 7)
        palette = drawn().convert("P")
        assert (await shop.kept(file_of(palette, "PNG", transparency=0)))[1].info["transparency"] == 0
        _, image, _ = await shop.kept(file_of(drawn().convert("CMYK"), "JPEG"))
        assert image.mode == "RGB"

    async def test_colours_of_another_profile_are_kept_without_it(self, shop: Store) -> None:
        lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        _, image, body = await shop.kept(file_of(drawn(), "PNG", icc_profile=lab))
        assert "icc_profile" not in image.info
        assert b"iCCP" not in body
        assert np.abs(pixels(image) - pixels(drawn())).max() <= 1
        assert (await shop.kept(file_of(drawn(), "PNG", icc_profile=b"no profile")))[1].size == (48, 32)


class TestWhatIsRefused:
    async def test_what_is_no_picture(self, shop: Store) -> None:
        gif = file_of(drawn().convert("P"), "GIF")
        svg = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
        for data in (b"x" * 100, gif, svg, b"%PDF-1.7 ...", b"\x00" * 20, b"RIFF....WAVE"):
            assert "no png, jpeg or webp" in await shop.refused(data)
        assert "0 bytes" in await shop.refused(b"")

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
    async def test_a_part_of_a_picture(self, shop: Store, kind: str) -> None:
        data = file_of(noise(64, 64), kind)
        assert "no whole picture" in await shop.refused(data[: len(data) // 2])

    async def test_broken_ones(self, shop: Store) -> None:
        data = bytearray(file_of(noise(64, 64)))
        data[60:200] = bytes(140)
        assert "picture" in await shop.refused(bytes(data))
        head_only = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + bytes(13)
        assert "picture" in await shop.refused(head_only)

    async def test_a_bomb_before_it_is_unpacked(self, shop: Store) -> None:
        assert "60000x60000: more than" in await shop.refused(bomb())

    async def test_what_moves(self, shop: Store) -> None:
        for kind in ("PNG", "WEBP"):
            data = file_of(drawn(), kind, save_all=True, append_images=[noise(48, 32)])
            assert "animated" in await shop.refused(data)

    async def test_more_than_eight_bits_a_colour(self, shop: Store) -> None:
        deep = Image.fromarray(np.zeros((8, 8), dtype=np.uint16))
        assert "8 bits" in await shop.refused(file_of(deep))

    async def test_another_kind_than_it_is_said_to_be(self, shop: Store) -> None:
        assert "said to be 'image/jpeg', and is image/png" in await shop.refused(file_of(drawn()), "image/jpeg")

    async def test_too_many_bytes(self, shop: Store) -> None:
        assert f"1 to {MAX_SOURCE_BYTES}" in await shop.refused(file_of(drawn()) + bytes(MAX_SOURCE_BYTES))


async def test_a_tenant_has_a_few_under_way_and_another_is_not_held_up(shop: Store) -> None:
    go_on = asyncio.Event()

    async def slow(file: BinaryIO) -> str | None:
        await go_on.wait()
        file.write(file_of(drawn()))
        return None

    first = [asyncio.create_task(shop.keeper.keep("acme", slow, param="file")) for _ in range(4)]
    await asyncio.sleep(0)
    with pytest.raises(ApiError) as raised:
        await shop.keep(file_of(drawn()))
    assert (raised.value.status, raised.value.headers["Retry-After"]) == (429, "1")
    assert (await shop.keep(file_of(drawn()), tenant="globex")).key
    go_on.set()
    assert len({one.key for one in await asyncio.gather(*first)}) == 1
    assert (await shop.keep(file_of(drawn()))).key


async def test_nobody_waits_for_ever_for_a_turn_with_a_large_body(shop: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producer_api.sources.keeping._WAIT_S", 0.05)
    async with shop.keeper.reading(), shop.keeper.reading():
        with pytest.raises(ApiError) as raised:
            async with asyncio.timeout(5), shop.keeper.reading():
                pass
        assert raised.value.status == 503
        assert raised.value.headers["Retry-After"]
    async with shop.keeper.reading():
        pass


async def test_the_decoder_knows_none_of_our_secrets(shop: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[dict[str, object]] = []
    start = asyncio.create_subprocess_exec

    async def observed(*command: str, **options: object) -> asyncio.subprocess.Process:
        started.append(options)
        return await start(*command, **options)  # type: ignore[arg-type]

    monkeypatch.setenv("EASEL_STORE_SECRET_KEY", "secret")
    monkeypatch.setattr(asyncio, "create_subprocess_exec", observed)
    await shop.keep(file_of(drawn()))
    assert [one["env"] for one in started] == [{}]
