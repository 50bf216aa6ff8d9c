"""``GET /v1/tasks/…``: where a request stands, and its pictures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Response
from fastapi.responses import StreamingResponse

from producer_api.answers import Task, ending_of
from producer_api.auth import TenantDep
from producer_api.errors import ApiError, unavailable
from producer_api.finding import find_task
from producer_api.services import Services, ServicesDep
from schemas.errors import Code, ErrorBody, ErrorType
from schemas.events import Succeeded
from schemas.outputs import Output, tenant_prefix
from transport.errors import NotFound

__all__ = ["TaskId", "require_known", "router"]

router = APIRouter(tags=["tasks"])

TaskId = Annotated[str, Path(alias="id", max_length=64)]
_ImageBytes = Annotated[int, Path(ge=0, description="The picture's index, from 0.")]

_IMAGE_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            media_type: {"schema": {"type": "string", "format": "binary"}}
            for media_type in ("image/png", "image/jpeg", "image/webp")
        },
        "description": "The picture. Its `ETag` is the SHA-256 of these bytes.",
    },
    304: {"description": "It is the picture that `If-None-Match` names."},
    404: {},
    410: {},
    503: {},
}


@router.get(
    "/v1/tasks/{id}",
    response_model_exclude_none=True,
    summary="Where a request stands",
    responses={404: {}, 503: {}},
)
async def task(id_: TaskId, tenant: TenantDep, services: ServicesDep) -> Task:
    """A request of the last 24 hours. Another tenant's ids are unknown here."""
    return require_known(services, id_, await find_task(services, tenant, id_))


def require_known(services: Services, id_: str, found: Task | None) -> Task:
    """The task that was found. Raises ``ApiError``: 404, or 503 as long as that is not certain."""
    if found is None:
        raise _unknown(services, f"there is no task {id_!r} of the last 24 hours")
    return found


@router.get(
    "/v1/tasks/{id}/images/{index}",
    response_class=StreamingResponse,
    summary="A picture",
    responses=_IMAGE_ANSWER,
)
async def image(
    id_: TaskId,
    index: _ImageBytes,
    tenant: TenantDep,
    services: ServicesDep,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The bytes of a picture, as they lie in the store. They never change."""
    output = await _output(services, tenant, id_, index)
    etag = f'"{output.sha256}"'
    headers = {
        "ETag": etag,
        "Cache-Control": "private, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
    }
    if if_none_match is not None and _matches(if_none_match, etag):
        return Response(status_code=304, headers=headers)
    pieces = services.objects.stream(output.key)
    try:
        # Before the status is sent: a store that is away must be a 503, not half a picture.
        first = await anext(pieces, b"")
    except NotFound:
        raise _missing("the picture is no longer in the store") from None
    headers["Content-Length"] = str(output.bytes)
    return StreamingResponse(_with_first(first, pieces), media_type=output.media_type, headers=headers)


async def _output(services: Services, tenant: str, id_: str, index: int) -> Output:
    row = await services.tracker.row(tenant, id_)
    ending = None if row is None else ending_of(row)
    if row is not None and row.deleted_ms is not None:
        gone = ErrorBody(
            message="the pictures of this task were deleted", type=ErrorType.NOT_FOUND, param="id", code=Code.NOT_FOUND
        )
        raise ApiError(gone, status=410)
    if isinstance(ending, Succeeded):
        for output in ending.outputs:
            # The prefix is what keeps tenants apart in the store: a key outside it is nobody's picture.
            if output.index == index and output.key.startswith(tenant_prefix(tenant)):
                return output
    raise _unknown(services, f"there is no picture {index} of a task {id_!r} of the last 24 hours")


async def _with_first(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


def _matches(condition: str, etag: str) -> bool:
    return any(tag.strip().removeprefix("W/") in (etag, "*") for tag in condition.split(","))


def _unknown(services: Services, message: str) -> ApiError:
    """404, unless the topics have not been read far enough to know."""
    if services.tracker.problem is not None:
        return unavailable("tasks can't be looked up yet: try again")
    return _missing(message)


def _missing(message: str) -> ApiError:
    return ApiError(ErrorBody(message=message, type=ErrorType.NOT_FOUND, param="id", code=Code.NOT_FOUND))
