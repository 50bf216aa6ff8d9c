"""Reads the body of a request. It may hold pictures to start from: they go to the store, by way of the disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from tempfile import TemporaryFile

from fastapi import Request
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from producer_api.body import GenerateBody, read_body
from producer_api.errors import ApiError
from producer_api.services import Services
from producer_api.sources.given import keep
from schemas.errors import Code, ErrorBody, ErrorType
from schemas.requests import MAX_REQUEST_BYTES
from schemas.sources import MAX_SOURCE_BYTES

__all__ = ["form_of", "media_type_of", "pieces_of", "receive"]

_SMALL_S = 30.0
_LARGE_S = 300.0
_MAX_BYTES = MAX_REQUEST_BYTES + 2 * MAX_SOURCE_BYTES // 3 * 4
"""Source and mask, in base64."""


async def receive(request: Request, services: Services, tenant: str) -> GenerateBody:
    """The body, with the keys of its sources in place of the sources.

    Raises ``ApiError`` (408, 413, 415), and what ``read_body`` and ``keep`` raise.
    """
    media_type = media_type_of(request) or "application/json"
    if media_type != "application/json":
        raise ApiError(_wrong(f"the content type is {media_type[:80]!r}: send application/json"), status=415)
    read = bytearray()
    pieces = pieces_of(request, _MAX_BYTES)
    async for piece in pieces:
        read += piece
        if len(read) > MAX_REQUEST_BYTES:
            return await _receive_large(services, tenant, read, pieces)
    return await _with_keys(services, tenant, read_body(bytes(read)))


def media_type_of(request: Request) -> str:
    """What a body is said to be, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def pieces_of(request: Request, most_bytes: int) -> AsyncGenerator[bytes, None]:
    """The body as it comes, read no further than it may be long. Raises ``ApiError`` (408, 413)."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most_bytes:
        raise _too_large(most_bytes)
    size = 0
    began = asyncio.get_running_loop().time()
    more = True
    while more:
        limit_s = _LARGE_S if size > MAX_REQUEST_BYTES else _SMALL_S
        try:
            async with asyncio.timeout_at(began + limit_s):
                message = await request.receive()
        except TimeoutError:
            raise ApiError(_wrong(f"the body did not arrive within {limit_s:g} s"), status=408) from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        piece: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        size += len(piece)
        if size > most_bytes:
            raise _too_large(most_bytes)
        if piece:
            yield piece


@asynccontextmanager
async def form_of(parser: MultiPartParser) -> AsyncIterator[FormData]:
    """The form, and afterwards none of its files. Raises ``ApiError`` (400) for what is no form."""
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise ApiError(_wrong(f"the form can't be read: {error.message}")) from None
    try:
        yield form
    finally:
        # More than the form knows: a part that never ended is not in it.
        for left in parser._files_to_close_on_error:
            left.close()


async def _receive_large(
    services: Services, tenant: str, read: bytearray, pieces: AsyncGenerator[bytes, None]
) -> GenerateBody:
    with services.sources.body(tenant), TemporaryFile() as file:
        file.write(read)
        read.clear()
        async for piece in pieces:
            file.write(piece)
        size = file.tell()
        file.seek(0)
        async with services.sources.reading():
            body = await asyncio.to_thread(lambda: read_body(file.read()))
            if size - len(body.source_image or "") - len(body.mask_image or "") > MAX_REQUEST_BYTES:
                raise _too_large(MAX_REQUEST_BYTES)
            return await _with_keys(services, tenant, body)


async def _with_keys(services: Services, tenant: str, body: GenerateBody) -> GenerateBody:
    keys = {
        param: await keep(services, tenant, given, param=param)
        for param in ("source_image", "mask_image")
        if (given := getattr(body, param)) is not None
    }
    return body.model_copy(update=keys) if keys else body


def _too_large(most_bytes: int) -> ApiError:
    message = f"the request is larger than {most_bytes} bytes"
    error = ErrorBody(message=message, type=ErrorType.INVALID_REQUEST, code=Code.RECORD_TOO_LARGE)
    return ApiError(error)


def _wrong(message: str) -> ErrorBody:
    return ErrorBody(message=message, type=ErrorType.INVALID_REQUEST, code=Code.INVALID_REQUEST)
