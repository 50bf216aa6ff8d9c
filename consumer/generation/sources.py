"""The pictures that a tenant gives: from the store to pixels of the size that is asked for, within limits."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Callable, Iterable

import numpy as np
from PIL import Image, ImageOps

from consumer.engine.contract import Mask, Pixels
from consumer.generation.jobs import Job, Source
from consumer.generation.outputs import persistently
from schemas.errors import Code
from schemas.requests import Parameters
from schemas.sources import EXTENSIONS, MAX_SOURCE_BYTES, MAX_SOURCE_PIXELS, content_hash
from transport.errors import NotFound, Unavailable
from transport.objects import ObjectStore

__all__ = ["SourceError", "Sources", "read_sources"]

_READ_S = 60.0
_HELD_BYTES = 512 * 2**20
"""Sources in memory beyond which no more are fetched."""
_LOOK_S = 0.1
_AT_ONCE = 4
"""Fetched. They are unpacked one after the other: a file of some kilobytes takes half a gigabyte for that moment."""
_STRIP_PIXELS = 2**20
_FORMATS = tuple(name.upper() for name in EXTENSIONS)
_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})


class SourceError(Exception):
    """A source can't be used, now or ever. ``param`` is the field that names it."""

    def __init__(self, code: Code, message: str, param: str) -> None:
        super().__init__(code, message, param)
        self.code = code
        self.message = message
        self.param = param


class Sources:
    """Fetches what a job is made from, before it is its turn.

    ``jobs`` are those that are here; ``wanted`` says of one whether it is still to be run here.
    """

    def __init__(self, store: ObjectStore, jobs: Callable[[], Iterable[Job]], wanted: Callable[[Job], bool]) -> None:
        self._store = store
        self._jobs = jobs
        self._wanted = wanted
        self._fetching = asyncio.Semaphore(_AT_ONCE)
        self._unpacking = asyncio.Lock()

    async def fetch(self, job: Job) -> None:
        """Have the source, and the mask, of a job that names some, unless it is called off meanwhile.

        Raises ``SourceError``, and ``StoreFailedError`` when the store is away for as long as we try.
        """
        asked = job.parameters
        if asked.source_image is None:
            return
        async with self._fetching:
            while self._wanted(job) and self._full():  # noqa: ASYNC110 - see below
                # Looked at again, not waited for: jobs end in many ways.
                await asyncio.sleep(_LOOK_S)
            if not self._wanted(job):
                return
            source = await self._read("source_image", asked.source_image)
            if not self._wanted(job):
                return
            mask = None if asked.mask_image is None else await self._read("mask_image", asked.mask_image)
            async with self._unpacking:
                if self._wanted(job):
                    job.source = await asyncio.to_thread(read_sources, asked, source, mask)

    def _full(self) -> bool:
        return sum(one.source.nbytes for one in self._jobs() if one.source) > _HELD_BYTES

    async def _read(self, param: str, key: str) -> bytes:
        try:
            data = await persistently(lambda: self._bytes(param, key))
        except NotFound:
            raise SourceError(Code.SOURCE_NOT_FOUND, f"{param}: there is no object {key!r}", param) from None
        digest = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
        if not digest.startswith(content_hash(key)):
            raise _invalid(param, f"its content is not what its key says: its sha256 is {digest}")
        return data

    async def _bytes(self, param: str, key: str) -> bytes:
        try:
            async with asyncio.timeout(_READ_S):
                size = (await self._store.stat(key)).size
                if not 0 < size <= MAX_SOURCE_BYTES:
                    raise _invalid(param, f"it has {size} bytes, and may have 1 to {MAX_SOURCE_BYTES}")
                # No more than that, whatever it has become since.
                return b"".join([piece async for piece in self._store.stream(key, length=size)])
        except TimeoutError:
            raise Unavailable(f"reading {key}: not whole within {_READ_S:g} s") from None


def read_sources(asked: Parameters, source: bytes, mask: bytes | None) -> Source:
    """Files as pixels: scaled until they fill the size that is asked for, and cut around their middle.

    Raises ``SourceError(source_invalid)``, and ``MemoryError``: that is this worker's trouble, not the file's.
    """
    size = asked.width, asked.height
    picture = _opened("source_image", source)
    sides, pixels = picture.size, _fitted(picture, size)
    # It is the large one, and need not be there while the mask is unpacked.
    del picture
    if mask is None:
        return Source(pixels)
    cut = _opened("mask_image", mask)
    if cut.size != sides:
        raise _invalid("mask_image", f"it is {_sides(cut.size)}, and the source {_sides(sides)}: they must be alike")
    return Source(pixels, _white(cut, size))


def _opened(param: str, data: bytes) -> Image.Image:
    """A picture upright and in colour, what is transparent being white."""
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=_FORMATS)
        if image.width * image.height > MAX_SOURCE_PIXELS:
            raise _invalid(param, f"it is {_sides(image.size)}: more than {MAX_SOURCE_PIXELS} pixels")
        if image.mode not in _MODES:
            raise _invalid(param, f"its pixels are of the mode {image.mode}: save it with 8 bits a colour")
        ImageOps.exif_transpose(image, in_place=True)
        if image.has_transparency_data:
            return _on_white(image)
        return image if image.mode == "RGB" else image.convert("RGB")
    except (SourceError, MemoryError):
        raise
    except Exception as error:
        # Broken files make Pillow raise whatever its decoders come upon.
        raise _invalid(param, "it is no picture that can be read: give a whole png, jpeg or webp") from error


def _on_white(image: Image.Image) -> Image.Image:
    # By strips: each step over the whole of it would hold one more copy of 128 MiB.
    ground = Image.new("RGB", image.size)
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height))).convert("RGBA")
        ground.paste(Image.alpha_composite(Image.new("RGBA", strip.size, "white"), strip).convert("RGB"), (0, top))
    return ground


def _fitted(image: Image.Image, size: tuple[int, int]) -> Pixels:
    return np.ascontiguousarray(ImageOps.fit(image, size, Image.Resampling.LANCZOS), dtype=np.uint8)


def _white(image: Image.Image, size: tuple[int, int]) -> Mask:
    return np.asarray(ImageOps.fit(image.convert("L"), size, Image.Resampling.BILINEAR)) >= 128


def _sides(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _invalid(param: str, why: str) -> SourceError:
    return SourceError(Code.SOURCE_INVALID, f"{param}: {why}", param)
