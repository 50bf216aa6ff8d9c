"""Takes in one picture: to a file, through the decoder, to the store. It is never whole in the memory of this process.

What is kept is written anew from the pixels. So whatever else the file was, held or hid is gone: a second format behind
the picture, where it was taken, by whom. The same bytes are kept under the same key, which is the hash of what is kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import BaseModel

from producer_api.errors import ApiError, unavailable
from schemas.errors import Code, EaselError, ErrorBody, ErrorType
from schemas.outputs import MEDIA_TYPES
from schemas.sources import EXTENSIONS, MAX_SOURCE_BYTES, MAX_SOURCE_PIXELS, format_of, source_key
from transport.errors import NotFound
from transport.objects import ObjectStore

__all__ = ["Keeper", "Kept", "Writer", "invalid"]

log = logging.getLogger(__name__)

Writer = Callable[[BinaryIO], Awaitable[str | None]]
"""Writes what was given to a file, no more than ``MAX_SOURCE_BYTES`` of it; returns the media type that it was said to
have, if any."""

_DECODER = Path(__file__).with_name("decoder.py")
_OF_A_TENANT = 4
_AT_ONCE = 32
"""Pictures that are being taken in: each is a file of at most 32 MiB, twice. So many bodies hold some, too."""
_DECODED_AT_ONCE = 2
_READ_AT_ONCE = 2
_WAIT_S = 30.0
_DECODE_S = 30.0
_HEAD_BYTES = 16
_FRESH = timedelta(days=1)
_ANY_TYPE = frozenset({"application/octet-stream", "binary/octet-stream"})


class Kept(BaseModel):
    """A picture in the store. ``key`` is what a request names as its ``source_image`` or ``mask_image``."""

    key: str
    sha256: str
    bytes: int
    media_type: str
    width: int
    height: int


class Keeper:
    """Keeps pictures for tenants: a few at a time for each, so that none takes the whole disk or all processors."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._pictures = Counter[str]()
        self._bodies = Counter[str]()
        self._decoding = asyncio.Semaphore(_DECODED_AT_ONCE)
        self._reading = asyncio.Semaphore(_READ_AT_ONCE)

    async def keep(self, tenant: str, write: Writer, *, param: str, holes: bool = False) -> Kept:
        """Verify and store a picture. ``param`` is the name of the field that it was given in.

        With ``holes`` what is kept is a mask: white where the picture is transparent.

        Raises ``EaselError(source_invalid)`` for what is no picture of a size that is taken, ``ApiError`` (429, 503)
        when too many are under way, ``TransportError`` when the store is away, and whatever ``write`` raises.
        """
        with _counted(self._pictures, tenant), tempfile.TemporaryDirectory(prefix="easel-source-") as folder:
            given, kept = Path(folder, "given"), Path(folder, "kept")
            # Temporary files are in the page cache: what is written to them waits for no disk.
            with given.open("xb") as file:  # noqa: ASYNC230
                said = await write(file)
            _require_type(given, said, param)
            async with _turn(self._decoding):
                found = await _decoded(given, kept, param, holes=holes)
            return await self._stored(tenant, kept, found)

    def body(self, tenant: str) -> AbstractContextManager[None]:
        """For as long as a body that holds pictures is here. Raises ``ApiError`` as ``keep`` does."""
        return _counted(self._bodies, tenant)

    def reading(self) -> AbstractAsyncContextManager[None]:
        """For as long as such a body is in memory. Raises ``ApiError`` (503) when it is nobody's turn for too long."""
        return _turn(self._reading)

    async def _stored(self, tenant: str, kept: Path, found: dict[str, Any]) -> Kept:
        format_ = found["format"]
        digest, size = await asyncio.to_thread(_hash_and_size, kept)
        picture = Kept(
            key=source_key(tenant, digest, EXTENSIONS[format_]),
            sha256=digest,
            bytes=size,
            media_type=MEDIA_TYPES[format_],
            width=found["width"],
            height=found["height"],
        )
        if not await self._is_there(picture.key):
            await self._store.put_file(picture.key, kept, content_type=picture.media_type)
        return picture

    async def _is_there(self, key: str) -> bool:
        try:
            age = datetime.now(UTC) - (await self._store.stat(key)).last_modified
        except NotFound:
            return False
        # An older one is written again: the store may be about to drop it for its age.
        return age < _FRESH


@asynccontextmanager
async def _turn(places: asyncio.Semaphore) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(_WAIT_S):
            await places.acquire()
    except TimeoutError:
        raise _busy() from None
    try:
        yield
    finally:
        places.release()


@contextmanager
def _counted(under_way: Counter[str], tenant: str) -> Iterator[None]:
    if under_way.total() >= _AT_ONCE:
        raise _busy()
    if under_way[tenant] >= _OF_A_TENANT:
        error = ErrorBody(
            message=f"{_OF_A_TENANT} pictures of this tenant are being taken in: try again when one is there",
            type=ErrorType.RATE_LIMIT,
            code=Code.RATE_LIMITED,
        )
        raise ApiError(error, headers={"Retry-After": "1"})
    under_way[tenant] += 1
    try:
        yield
    finally:
        under_way[tenant] -= 1
        if not under_way[tenant]:
            del under_way[tenant]


def _busy() -> ApiError:
    return unavailable("too many pictures are being taken in: try again")


def invalid(param: str, why: str) -> EaselError:
    """The refusal of what can't be a source."""
    return EaselError(Code.SOURCE_INVALID, f"{param}: {why}", param=param)


def _require_type(given: Path, said: str | None, param: str) -> None:
    if not 0 < given.stat().st_size <= MAX_SOURCE_BYTES:
        raise invalid(param, f"it has {given.stat().st_size} bytes, and may have 1 to {MAX_SOURCE_BYTES}")
    with given.open("rb") as file:
        found = format_of(file.read(_HEAD_BYTES))
    if found is None:
        raise invalid(param, "it is no png, jpeg or webp")
    if said and said not in _ANY_TYPE and said != MEDIA_TYPES[found]:
        raise invalid(param, f"it is said to be {said[:80]!r}, and is {MEDIA_TYPES[found]}")


async def _decoded(given: Path, kept: Path, param: str, *, holes: bool) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        _DECODER,
        given,
        kept,
        str(MAX_SOURCE_PIXELS),
        str(MAX_SOURCE_BYTES),
        *(["holes"] if holes else []),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=given.parent,
        # It unpacks what strangers send: no secret is to be found there.
        env={},
    )
    try:
        async with asyncio.timeout(_DECODE_S):
            said, _ = await process.communicate()
    except TimeoutError:
        raise invalid(param, f"it takes more than {_DECODE_S:g} s to unpack: save it smaller") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        log.warning("the decoder of sources ended with %s", process.returncode)
        raise invalid(param, "it is no picture that can be read")
    found: dict[str, Any] = json.loads(said)
    if "error" in found:
        raise invalid(param, found["error"])
    return found


def _hash_and_size(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), file.tell()
