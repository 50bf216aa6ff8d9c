"""Answers that hold pictures whole, in base64: sent as they come from the store, so that none lies in memory."""

from __future__ import annotations

import asyncio
import secrets
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence

from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from producer_api.answers import Image
from producer_api.services import Services
from producer_api.soon import soon
from schemas.outputs import Output
from transport.errors import NotFound

__all__ = ["filled", "inlined", "is_there"]


async def inlined(
    services: Services, document: BaseModel, images: Sequence[Image], *, status: int, headers: Mapping[str, str]
) -> StreamingResponse:
    """``document`` as JSON in which each of ``images``, which are parts of it, has ``b64_json`` in place of ``url``.

    A picture that is no longer in the store has neither. Raises ``Unavailable`` when the store does not answer.
    """
    there = await asyncio.gather(*(is_there(services, image) for image in images))
    marks: dict[str, Output] = {}
    for image, found in zip(images, there, strict=True):
        image.url = image.expires_at = None
        if found:
            image.b64_json = secrets.token_hex(16)
            marks[image.b64_json] = image
    text = document.model_dump_json(by_alias=True, exclude_none=True)
    return filled(services, text, marks, status=status, headers=headers)


def filled(
    services: Services, text: str, marks: Mapping[str, Output], *, status: int, headers: Mapping[str, str]
) -> StreamingResponse:
    """``text`` with each mark in it replaced by its picture in base64; no more than a piece of one is in memory."""
    size = len(text.encode()) + sum(_base64_size(image.bytes) - len(mark) for mark, image in marks.items())
    return StreamingResponse(
        _pieces(services, text, marks),
        status_code=status,
        media_type="application/json",
        headers={**headers, "Content-Length": str(size)},
    )


async def is_there(services: Services, image: Output) -> bool:
    """Whether the store has the picture. Raises ``Unavailable``."""
    try:
        return (await soon(services.objects.stat(image.key))).size == image.bytes
    except NotFound:
        return False


async def _pieces(services: Services, text: str, marks: Mapping[str, Output]) -> AsyncIterator[bytes]:
    for mark, image in marks.items():
        before, text = text.split(mark, 1)
        yield before.encode()
        left = b""
        async for piece in services.objects.stream(image.key):
            data = left + piece
            whole = len(data) - len(data) % 3
            left = data[whole:]
            yield b64encode(data[:whole])
        yield b64encode(left)
    yield text.encode()


def _base64_size(size: int) -> int:
    return -(-size // 3) * 4
