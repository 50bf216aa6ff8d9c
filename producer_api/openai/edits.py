"""What ``/v1/images/edits`` is given: a form with a picture, perhaps a mask, and the fields of a request."""

from __future__ import annotations

import asyncio
import shutil
from typing import Any, BinaryIO, NamedTuple

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartParser

from producer_api.errors import ApiError
from producer_api.openai.body import EditBody, read_images_body
from producer_api.receiving import form_of, media_type_of, pieces_of
from producer_api.services import Services
from producer_api.sources.given import require_active
from producer_api.sources.keeping import Kept, Writer
from schemas.errors import Code, EaselError, ErrorBody, ErrorType
from schemas.sources import MAX_SOURCE_BYTES

__all__ = ["Edit", "read_edit"]

_FORM = "multipart/form-data"
_IMAGES = ("image", "image[]")
_MASK = "mask"
_MAX_FILES = 16
_MAX_FIELDS = 40
_MAX_FIELD_BYTES = 64 * 1024
_MAX_BYTES = 2 * MAX_SOURCE_BYTES + _MAX_FIELDS * _MAX_FIELD_BYTES


class Edit(NamedTuple):
    """The pictures are in the store."""

    body: EditBody
    image: Kept
    mask: Kept | None


async def read_edit(request: Request, services: Services, tenant: str) -> Edit:
    """Read the form and keep its pictures. Raises ``EaselError`` and ``ApiError`` for what can't be used."""
    if (kind := media_type_of(request)) != _FORM:
        raise ApiError(_wrong(f"the content type is {kind[:80]!r}: send {_FORM}"), status=415)
    require_active(services, tenant)
    with services.sources.body(tenant):
        pieces = pieces_of(request, _MAX_BYTES)
        parser = MultiPartParser(
            request.headers, pieces, max_files=_MAX_FILES, max_fields=_MAX_FIELDS, max_part_size=_MAX_FIELD_BYTES
        )
        async with form_of(parser) as form:
            return await _kept(form, services, tenant)


async def _kept(form: FormData, services: Services, tenant: str) -> Edit:
    files = [(name, value) for name, value in form.multi_items() if isinstance(value, UploadFile)]
    fields: dict[str, Any] = {name: value for name, value in form.multi_items() if not isinstance(value, UploadFile)}
    body = read_images_body(fields, EditBody)
    images = [file for name, file in files if name in _IMAGES]
    masks = [file for name, file in files if name == _MASK]
    for name, _ in files:
        if name not in (*_IMAGES, _MASK):
            raise _refused(name, f"the field {name!r} is not known: leave it out")
    if len(images) != 1:
        raise _refused("image", f"image: one picture is edited at a time, and {len(images)} were given")
    if len(masks) > 1:
        raise _refused("mask", "mask: there can be one")
    image = await services.sources.keep(tenant, _from(images[0]), param="image")
    if not masks:
        return Edit(body, image, None)
    mask = await services.sources.keep(tenant, _from(masks[0]), param="mask", holes=True)
    if (mask.width, mask.height) != (image.width, image.height):
        sizes = f"{mask.width}x{mask.height}, and the image {image.width}x{image.height}"
        raise _refused("mask", f"mask: it has {sizes}: make them of one size")
    return Edit(body, image, mask)


def _from(given: UploadFile) -> Writer:
    async def write(file: BinaryIO) -> str | None:
        await asyncio.to_thread(shutil.copyfileobj, given.file, file)
        # Clients guess it by the file's name, or do not: what it is, its first bytes say.
        return None

    return write


def _refused(param: str, message: str) -> EaselError:
    return EaselError(Code.INVALID_REQUEST, message, param=param)


def _wrong(message: str) -> ErrorBody:
    return ErrorBody(message=message, type=ErrorType.INVALID_REQUEST, code=Code.INVALID_REQUEST)
