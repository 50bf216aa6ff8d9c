"""``POST /v1/uploads``: put a picture into the store, for requests that are made from it."""

from __future__ import annotations

import asyncio
import shutil
from typing import Any, BinaryIO

from fastapi import APIRouter, Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartParser

from producer_api.auth import TenantDep
from producer_api.errors import ApiError
from producer_api.receiving import form_of, media_type_of, pieces_of
from producer_api.services import ServicesDep
from producer_api.sources.given import require_active
from producer_api.sources.keeping import Kept, Writer, invalid
from schemas.errors import Code, ErrorBody, ErrorType
from schemas.outputs import MEDIA_TYPES
from schemas.sources import EXTENSIONS, MAX_SOURCE_BYTES

__all__ = ["router"]

router = APIRouter(tags=["generation"])

_FIELD = "file"
_FORM = "multipart/form-data"
_RAW = (*(MEDIA_TYPES[name] for name in EXTENSIONS), "application/octet-stream")
_MAX_FIELDS = 4
_FRAME_BYTES = 64 * 1024
"""What a form has around its file."""
_BINARY = {"type": "string", "format": "binary"}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            _FORM: {"schema": {"type": "object", "required": [_FIELD], "properties": {_FIELD: _BINARY}}},
            **{media_type: {"schema": _BINARY} for media_type in _RAW},
        },
    }
}


@router.post(
    "/v1/uploads",
    status_code=201,
    openapi_extra=_BODY,
    summary="Upload a picture to start from",
    responses={status: {} for status in (400, 403, 413, 415, 429, 503)},
)
async def upload(request: Request, tenant: TenantDep, services: ServicesDep) -> Kept:
    """Verify a png, jpeg or webp and keep it; its `key` is for `source_image` and `mask_image`.

    Send the file as the field `file` of a form, or as the body itself. It is written anew from its pixels: upright, in
    sRGB, and without anything else that the file held. The same picture has the same key.
    """
    require_active(services, tenant)
    media_type = media_type_of(request)
    if media_type == _FORM:
        write = _from_form(request)
    elif media_type in _RAW:
        write = _from_body(request, media_type)
    else:
        message = f"the content type is {media_type[:80]!r}: send {_FORM}, or one of {', '.join(_RAW)}"
        raise ApiError(_wrong(message), status=415)
    return await services.sources.keep(tenant, write, param=_FIELD)


def _from_body(request: Request, media_type: str) -> Writer:
    async def write(file: BinaryIO) -> str | None:
        async for piece in pieces_of(request, MAX_SOURCE_BYTES):
            file.write(piece)
        return media_type

    return write


def _from_form(request: Request) -> Writer:
    async def write(file: BinaryIO) -> str | None:
        pieces = pieces_of(request, MAX_SOURCE_BYTES + _FRAME_BYTES)
        parser = MultiPartParser(
            request.headers, pieces, max_files=1, max_fields=_MAX_FIELDS, max_part_size=_FRAME_BYTES
        )
        async with form_of(parser) as form:
            given = form.get(_FIELD)
            if not isinstance(given, UploadFile):
                raise invalid(_FIELD, f"the form has no file in the field {_FIELD!r}")
            await asyncio.to_thread(shutil.copyfileobj, given.file, file)
            return (given.content_type or "").partition(";")[0].strip().lower()

    return write


def _wrong(message: str) -> ErrorBody:
    return ErrorBody(message=message, type=ErrorType.INVALID_REQUEST, code=Code.INVALID_REQUEST)
