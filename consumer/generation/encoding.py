"""Pixels into files, with what they were made from inside, in threads."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from consumer.engine.contract import Pixels
from consumer.generation.jobs import Job
from consumer.generation.xmp import packet
from schemas.outputs import ImageFormat

__all__ = ["Encoder", "Encoding", "File", "Picture", "encode", "provenance", "recorded"]

_THREADS = 2
_TOGETHER_PIXELS = 512 * 512
"""What goes to a thread at once. The way there costs as much as encoding some thousand pixels."""
_EXIF_DESCRIPTION = 0x010E
_EXIF_SOFTWARE = 0x0131
_SOFTWARE = "easel"
_PNG_KEY = "easel"
_PNG_XMP = "XML:com.adobe.xmp"


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a job, as the engine made it."""

    job: Job
    index: int
    pixels: Pixels

    @property
    def size(self) -> int:
        """In pixels."""
        height, width = self.pixels.shape[:2]
        return int(height * width)


class File(NamedTuple):
    """A picture as it goes to the store."""

    data: bytes
    sha256: str


@dataclass(frozen=True, slots=True)
class Encoding:
    """A picture that is being encoded, beside others."""

    picture: Picture
    _files: asyncio.Future[list[File | Exception]]
    _place: int

    async def file(self) -> File:
        """Wait for it. Raises what went wrong with this one."""
        found = (await self._files)[self._place]
        if isinstance(found, Exception):
            raise found
        return found


class _Work(NamedTuple):
    pixels: Pixels
    format: ImageFormat
    quality: int
    facts: dict[str, Any]


class Encoder:
    """Encodes in threads: Pillow frees the interpreter while it compresses."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="encode")

    def begin(self, pictures: Iterable[Picture]) -> Iterator[Encoding]:
        """Begin with all of them."""
        for group in _groups(pictures):
            work = [_work_of(picture) for picture in group]
            files = asyncio.get_running_loop().run_in_executor(self._threads, _encode_all, work)
            for place, picture in enumerate(group):
                yield Encoding(picture, files, place)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _groups(pictures: Iterable[Picture]) -> Iterator[list[Picture]]:
    group: list[Picture] = []
    pixels = 0
    for picture in pictures:
        if group and pixels + picture.size > _TOGETHER_PIXELS:
            yield group
            group, pixels = [], 0
        group.append(picture)
        pixels += picture.size
    if group:
        yield group


def _work_of(picture: Picture) -> _Work:
    parameters = picture.job.parameters
    facts = provenance(picture.job, parameters.seeds()[picture.index])
    return _Work(picture.pixels, parameters.format, parameters.quality, facts)


def _encode_all(work: Sequence[_Work]) -> list[File | Exception]:
    return [_encode_one(one) for one in work]


def _encode_one(work: _Work) -> File | Exception:
    try:
        data = encode(*work)
    except Exception as error:
        # Its own, not that of those beside it.
        return error
    return File(data, hashlib.sha256(data).hexdigest())


def provenance(job: Job, seed: int) -> dict[str, Any]:
    """What a picture says of itself."""
    return {
        "request_id": job.assigned.request_id,
        "model": job.parameters.model,
        "weights_revision": job.weights_revision,
        "seed": seed,
        "parameters": recorded(job),
    }


def encode(pixels: Pixels, format: ImageFormat, quality: int, facts: dict[str, Any]) -> bytes:  # noqa: A002
    """The picture (height x width x 3) as a file, with ``facts`` as JSON in it: in a PNG as the text ``easel``, else as
    EXIF's ImageDescription; and with the mark of what models make, as XMP. Equal input makes equal bytes. ``quality``
    is for jpeg and webp."""
    image = Image.fromarray(pixels, "RGB")
    file = io.BytesIO()
    composite = "mask_image" in facts.get("parameters", {})
    mark = packet(str(facts.get("request_id", "")), _SOFTWARE, composite=composite)
    if format == "png":
        text = PngInfo()
        text.add_text("Software", _SOFTWARE)
        text.add_itxt(_PNG_KEY, json.dumps(facts, ensure_ascii=False, sort_keys=True))
        text.add_itxt(_PNG_XMP, mark.decode())
        image.save(file, "PNG", pnginfo=text)
        return file.getvalue()
    exif = Image.Exif()
    exif[_EXIF_SOFTWARE] = _SOFTWARE
    exif[_EXIF_DESCRIPTION] = json.dumps(facts, sort_keys=True)
    image.save(file, format.upper(), quality=quality, exif=exif, xmp=mark)
    return file.getvalue()


def recorded(job: Job) -> dict[str, Any]:
    """The parameters of a job, as its pictures and its manifest tell them."""
    untold = {"model", "priority", "deadline", "previews"}
    return job.parameters.model_dump(mode="json", exclude_none=True, exclude=untold)
