"""``GET /v1/tasks/{id}/images/{index}``: a picture, or a part of it, as it lies in the store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request, Response
from fastapi.responses import StreamingResponse

from producer_api.answers import Image
from producer_api.auth import TenantDep
from producer_api.errors import ApiError
from producer_api.finding import find_task, require_known
from producer_api.ranges import NotSatisfiable, range_of
from producer_api.routes.tasks import TaskId
from producer_api.services import Services, ServicesDep
from producer_api.soon import soon
from schemas.errors import Code, ErrorBody, ErrorType
from transport.errors import NotFound

__all__ = ["router"]

router = APIRouter(tags=["tasks"])

_Index = Annotated[int, Path(ge=0, description="The picture's index, from 0.")]
_PICTURE = {
    media_type: {"schema": {"type": "string", "format": "binary"}}
    for media_type in ("image/png", "image/jpeg", "image/webp")
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": _PICTURE, "description": "The picture. Its `ETag` is the SHA-256 of these bytes."},
    206: {"content": _PICTURE, "description": "The part of it that `Range` names."},
    304: {"description": "It is the picture that `If-None-Match` names."},
    404: {},
    410: {},
    416: {},
    503: {},
}


@router.head(
    "/v1/tasks/{id}/images/{index}",
    response_class=Response,
    summary="What a picture is",
    responses={status: {"description": answer.get("description", "")} for status, answer in _ANSWERS.items()},
)
@router.get(
    "/v1/tasks/{id}/images/{index}",
    response_class=StreamingResponse,
    summary="A picture",
    responses=_ANSWERS,
)
async def image(
    request: Request,
    id_: TaskId,
    index: _Index,
    tenant: TenantDep,
    services: ServicesDep,
    if_none_match: Annotated[str | None, Header()] = None,
    range_: Annotated[str | None, Header(alias="Range")] = None,
    if_range: Annotated[str | None, Header()] = None,
) -> Response:
    """The bytes of a picture, as they lie in the store; they never change. One `Range` of them, where that is named."""
    picture = await _picture(services, tenant, id_, index)
    etag = f'"{picture.sha256}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=31536000, immutable",
        "Content-Disposition": f'inline; filename="{id_}-{index}.{picture.key.rpartition(".")[2]}"',
        "X-Content-Type-Options": "nosniff",
    }
    if if_none_match is not None and _matches(if_none_match, etag):
        return Response(status_code=304, headers=headers)
    # A range of another picture than the caller has a part of would be of no use.
    asked = range_ if if_range is None or if_range.strip() == etag else None
    try:
        part = range_of(asked, picture.bytes)
    except NotSatisfiable:
        raise _beyond(picture, headers) from None
    offset, length = part or (0, picture.bytes)
    status = 200
    if part is not None:
        status = 206
        headers["Content-Range"] = f"bytes {offset}-{offset + length - 1}/{picture.bytes}"
    headers["Content-Length"] = str(length)
    try:
        if request.method == "HEAD":
            await soon(services.objects.stat(picture.key))
            return Response(status_code=status, media_type=picture.media_type, headers=headers)
        pieces = services.objects.stream(picture.key, offset=offset, length=length)
        # Before the status is sent: a store that is away must be a 503, not half a picture.
        first = await soon(anext(pieces, b""))
    except NotFound:
        raise _missing("the picture is no longer in the store") from None
    return StreamingResponse(
        _with_first(first, pieces), status_code=status, media_type=picture.media_type, headers=headers
    )


async def _picture(services: Services, tenant: str, id_: str, index: int) -> Image:
    task = require_known(services, id_, await find_task(services, tenant, id_))
    if task.outputs_deleted_at is not None:
        gone = ErrorBody(
            message="the pictures of this task were deleted", type=ErrorType.NOT_FOUND, param="id", code=Code.NOT_FOUND
        )
        raise ApiError(gone, status=410)
    for picture in task.outputs or ():
        if picture.index == index:
            return picture
    raise _missing(f"there is no picture {index} of the task {id_!r}")


async def _with_first(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


def _matches(condition: str, etag: str) -> bool:
    return any(tag.strip().removeprefix("W/") in (etag, "*") for tag in condition.split(","))


def _beyond(picture: Image, headers: dict[str, str]) -> ApiError:
    message = f"Range: the picture has {picture.bytes} bytes"
    error = ErrorBody(message=message, type=ErrorType.INVALID_REQUEST, param="Range", code=Code.INVALID_REQUEST)
    return ApiError(error, status=416, headers={"ETag": headers["ETag"], "Content-Range": f"bytes */{picture.bytes}"})


def _missing(message: str) -> ApiError:
    return ApiError(ErrorBody(message=message, type=ErrorType.NOT_FOUND, param="id", code=Code.NOT_FOUND))
