"""Sources from the store: scaled and cut, and refused when broken, huge, or not what their key says."""

from __future__ import annotations

import asyncio
import hashlib
import io
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from consumer.generation import sources
from consumer.generation.jobs import Job, Source
from consumer.generation.sources import SourceError, Sources, read_sources
from schemas.errors import Code
from schemas.requests import Parameters
from schemas.settings import Settings
from schemas.sources import source_key
from tests.consumer.generation.harness import job, parameters
from transport.objects import ObjectStore

RED, BLUE = (220, 20, 30), (10, 40, 200)


def picture(width: int = 64, height: int = 64, mode: str = "RGB", colour: Any = RED) -> Image.Image:
    return Image.new(mode, (width, height), colour)


def file_of(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def bomb() -> bytes:
    """A small PNG whose head says that it is of 60,000 x 60,000 pixels."""
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(head)) + chunk + struct.pack(">I", zlib.crc32(chunk))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_of_each_format_is_read(kind: str) -> None:
    pixels = read_sources(parameters(), file_of(picture(), kind), None).pixels
    assert pixels.shape == (64, 64, 3)
    assert np.abs(pixels.astype(int) - RED).max() <= 8


def test_one_of_the_right_size_is_left_as_it_is() -> None:
    drawn = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert np.array_equal(read_sources(parameters(), file_of(Image.fromarray(drawn)), None).pixels, drawn)


def test_another_size_is_filled_from_its_middle() -> None:
    wide = picture(300, 100, colour=BLUE)
    wide.paste(RED, (100, 0, 200, 100))
    pixels = read_sources(parameters(), file_of(wide), None).pixels.astype(int)
    assert pixels.shape == (64, 64, 3)
    assert np.abs(pixels[:, 4:-4] - RED).max() <= 4


def test_what_is_transparent_is_white() -> None:
    clear = picture(mode="RGBA", colour=(0, 0, 0, 0))
    assert read_sources(parameters(), file_of(clear), None).pixels.min() == 255


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_half_transparent_lies_on_white_in_every_strip(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = np.random.default_rng(0).integers(0, 256, (64, 64, 4), dtype=np.uint8)
    clear = Image.fromarray(drawn).quantize(64) if mode == "P" else Image.fromarray(drawn).convert(mode)
    seen = clear.convert("RGBA")
    whole = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
    # The last strip is a short one.
    monkeypatch.setattr(sources, "_STRIP_PIXELS", 64 * 10)
    assert np.array_equal(read_sources(parameters(), file_of(clear), None).pixels, np.asarray(whole))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_photograph_is_turned_upright(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = picture(96, 64)
    lying.paste(BLUE, (0, 0, 96, 32))
    pixels = read_sources(parameters(), file_of(lying, kind, exif=exif, quality=100), None).pixels.astype(int)
    assert np.abs(pixels[:, -20:] - BLUE).max() <= 12


def read_with_little_memory(mib: int) -> str:
    """What becomes of reading a large picture and its mask with so much more memory than the libraries take.

    In a process of its own: in this one, what earlier tests have given back would be used again.
    """
    script = f"""
from tests.consumer.generation.harness import little_memory, parameters
from tests.consumer.generation.test_sources import file_of, picture, read_sources
read_sources(parameters(), file_of(picture()), None)
large = file_of(picture(8_192, 4_096, "RGBA", (0, 0, 0, 0)))
with little_memory({mib}):
    try:
        print(read_sources(parameters(), large, large).pixels.min())
    except MemoryError as error:
        print(type(error).__name__)
"""
    read = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    return read.stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on memory is Linux's")
def test_a_large_picture_takes_little_more_memory_than_its_pixels() -> None:
    # 128 MiB each: the picture, and what it is on white.
    assert read_with_little_memory(320) == "255"


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on memory is Linux's")
def test_that_memory_runs_out_is_not_the_files_fault() -> None:
    assert read_with_little_memory(64) == "MemoryError"


def test_a_mask_is_what_is_white() -> None:
    mask = picture(mode="L", colour=0)
    mask.paste(255, (0, 0, 32, 64))
    found = read_sources(parameters(), file_of(picture()), file_of(mask)).mask
    assert found is not None
    assert found[:, :32].all()
    assert not found[:, 32:].any()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"no picture", "no picture that can be read"),
        (file_of(picture(200, 200))[:-40], "no picture that can be read"),
        (file_of(picture(), "GIF"), "no picture that can be read"),
        (file_of(picture(mode="I;16", colour=9)), "8 bits a colour"),
        (bomb(), "no picture that can be read"),
        (file_of(picture(8_192, 4_097, mode="1", colour=0)), "more than 33554432 pixels"),
    ],
)
def test_what_can_not_be_read_is_refused_by_name(data: bytes, why: str) -> None:
    with pytest.raises(SourceError, match=why) as caught:
        read_sources(parameters(), data, None)
    assert (caught.value.code, caught.value.param) == (Code.SOURCE_INVALID, "source_image")
    with pytest.raises(SourceError) as caught:
        read_sources(parameters(), file_of(picture()), data)
    assert caught.value.param == "mask_image"


def test_a_mask_of_another_size_than_its_source_is_refused() -> None:
    with pytest.raises(SourceError, match="it is 32x32, and the source 64x64") as caught:
        read_sources(parameters(), file_of(picture()), file_of(picture(32, 32)))
    assert caught.value.param == "mask_image"


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[ObjectStore]:
    async with ObjectStore(settings.store) as store:
        await store.ensure_bucket()
        yield store


def asking(key: str, mask: str | None = None) -> Job:
    return Job(job(source_image=key, mask_image=mask, strength=0.5), None, [])


def always(_: Job) -> bool:
    return True


async def put(store: ObjectStore, data: bytes, *, named_after: bytes | None = None) -> str:
    key = source_key("acme", hashlib.sha256(data if named_after is None else named_after).hexdigest(), "png")
    await store.put(key, data, content_type="image/png")
    return key


async def test_it_is_fetched_from_the_store(store: ObjectStore) -> None:
    asked = asking(await put(store, file_of(picture())))
    await Sources(store, lambda: [asked], always).fetch(asked)
    assert asked.source is not None
    assert asked.source.pixels.shape == (64, 64, 3)
    assert asked.source.nbytes == 64 * 64 * 3


async def test_one_that_is_not_there_is_named(store: ObjectStore) -> None:
    with pytest.raises(SourceError, match="there is no object") as caught:
        await Sources(store, list[Job], always).fetch(asking(source_key("acme", "0" * 64, "png")))
    assert caught.value.code is Code.SOURCE_NOT_FOUND


@pytest.mark.parametrize(
    ("data", "why"), [(file_of(picture()), "not what its key says"), (b"", "0 bytes"), (bytes(33 * 2**20), "bytes")]
)
async def test_one_that_is_not_what_its_key_says_or_too_large_is_refused(
    store: ObjectStore, data: bytes, why: str
) -> None:
    asked = asking(await put(store, data, named_after=b"other"))
    with pytest.raises(SourceError, match=why) as caught:
        await Sources(store, list[Job], always).fetch(asked)
    assert caught.value.code is Code.SOURCE_INVALID
    assert asked.source is None


async def test_files_are_unpacked_one_after_the_other(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    key = await put(store, file_of(picture(512, 512)))
    under_way, most = 0, 0
    lock = threading.Lock()

    def counted(asked: Parameters, source: bytes, mask: bytes | None) -> Source:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        try:
            return read_sources(asked, source, mask)
        finally:
            with lock:
                under_way -= 1

    monkeypatch.setattr(sources, "read_sources", counted)
    asked = [asking(key) for _ in range(12)]
    fetching = Sources(store, lambda: asked, always)
    await asyncio.gather(*(fetching.fetch(one) for one in asked))
    assert all(one.source for one in asked)
    assert most == 1


async def test_what_is_called_off_while_it_waits_for_memory_gives_its_place_up(store: ObjectStore) -> None:
    full = asking(source_key("acme", "1" * 64, "png"))
    # As many bytes as it says, and of no size at all.
    full.source = Source(np.broadcast_to(np.uint8(0), (2**14, 2**14, 3)))
    called_off = [asking(source_key("acme", "0" * 64, "png")) for _ in range(4)]
    next_one = asking(await put(store, file_of(picture())))
    fetching = Sources(store, lambda: [full], lambda one: not one.dropped)
    tasks = [asyncio.create_task(fetching.fetch(one)) for one in (*called_off, next_one)]
    await asyncio.sleep(0.3)
    assert not any(task.done() for task in tasks)
    for one in called_off:
        one.dropped = True
    # They look for no object: there is none.
    await asyncio.wait_for(asyncio.gather(*tasks[:4]), 5)
    full.source = None
    await asyncio.wait_for(tasks[4], 5)
    assert next_one.source is not None


@pytest.mark.parametrize("reads", [0, 1, 2])
async def test_what_is_called_off_between_its_files_fetches_no_more(store: ObjectStore, reads: int) -> None:
    there = await put(store, file_of(picture()))
    mask = there if reads == 2 else source_key("acme", "1" * 64, "png")
    asked = asking(there if reads else source_key("acme", "0" * 64, "png"), mask)
    looks = 0

    def wanted(_: Job) -> bool:
        nonlocal looks
        looks += 1
        # Once before it waits and once after, then after each file.
        return looks <= (0, 2, 3)[reads]

    await Sources(store, list[Job], wanted).fetch(asked)
    assert asked.source is None
