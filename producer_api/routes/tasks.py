"""``GET /v1/tasks``: where requests stand, one by one, page by page, or by their group."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Request, Response

from producer_api.answers import Group, Links, Task, TaskPage
from producer_api.auth import TenantDep
from producer_api.body import ResponseFormat
from producer_api.errors import ApiError, unavailable
from producer_api.finding import find_task, require_known, shown
from producer_api.inlining import inlined
from producer_api.services import Services, ServicesDep
from producer_api.task_list import Wanted
from schemas.errors import Code, ErrorBody, ErrorType

__all__ = ["TaskId", "router"]

router = APIRouter(tags=["tasks"])

TaskId = Annotated[str, Path(alias="id", max_length=64)]
_GroupId = Annotated[str, Path(alias="id", max_length=100)]
ListedState = Literal["rejected", "accepted", "running", "succeeded", "failed", "canceled"]

_METADATA = "metadata."
_MOST_LABELS = 4
_GROUP_PAGE = 100


@router.get(
    "/v1/tasks",
    response_model_exclude_none=True,
    summary="Tasks, the newest first",
    responses={400: {}, 503: {}},
)
async def tasks(
    request: Request,
    tenant: TenantDep,
    services: ServicesDep,
    state: Annotated[ListedState | None, Query()] = None,
    group: Annotated[str | None, Query(max_length=100)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=200, description="From `next` of the page before.")] = None,
) -> TaskPage:
    """The tasks of the last 24 hours that have this state, this group and this metadata (`metadata.post=1234`).

    A request is in the list as soon as admission has decided about it. `next` is the path of the next page.
    """
    wanted = Wanted(
        tenant,
        limit + 1,
        state=state,
        group=group,
        metadata=_labels(request),
        after=None if cursor is None else _read_cursor(cursor),
    )
    found = await _page(services, wanted)
    following = None
    if len(found) > limit:
        given = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
        following = f"/v1/tasks?{urlencode([*given, ('cursor', _cursor(found[limit - 1].id))])}"
    return TaskPage(tasks=found[:limit], next=following)


@router.get(
    "/v1/tasks/{id}",
    response_model=Task,
    response_model_exclude_none=True,
    summary="Where a request stands",
    responses={404: {}, 410: {}, 503: {}},
)
async def task(
    id_: TaskId,
    tenant: TenantDep,
    services: ServicesDep,
    response_format: Annotated[
        ResponseFormat, Query(description="`b64_json` answers with the pictures themselves.")
    ] = "url",
) -> Task | Response:
    """A request, with links to its pictures once it has them. Another tenant's ids are unknown here.

    Of one whose last change is more than 24 hours ago, the store still knows the pictures; `410` when it does not.
    """
    found = require_known(services, id_, await find_task(services, tenant, id_))
    if response_format == "b64_json" and found.outputs:
        return await inlined(services, found, found.outputs, status=200, headers={})
    return found


@router.get(
    "/v1/groups/{id}",
    response_model_exclude_none=True,
    summary="Where the requests of a group stand",
    responses={404: {}, 503: {}},
)
async def group(id_: _GroupId, tenant: TenantDep, services: ServicesDep) -> Group:
    """What was accepted under one group: by `prompts`, or by requests that named it themselves; the last 24 hours.

    The first 100 in the order in which they were asked for; `counts` is over all of them.
    """
    wanted = Wanted(tenant, _GROUP_PAGE + 1, group=id_, oldest_first=True)
    found = await _page(services, wanted)
    if not found:
        if services.tracker.problem is not None:
            raise unavailable("groups can't be looked up yet: try again")
        message = f"there is no group {id_!r} of the last 24 hours"
        raise ApiError(ErrorBody(message=message, type=ErrorType.NOT_FOUND, param="id", code=Code.NOT_FOUND))
    return Group.model_validate(
        {
            "id": id_,
            "counts": await services.tracker.counts(wanted),
            "tasks": found[:_GROUP_PAGE],
            "next": f"/v1/tasks?{urlencode({'group': id_})}" if len(found) > _GROUP_PAGE else None,
            "links": Links(self_=f"/v1/groups/{id_}"),
        }
    )


async def _page(services: Services, wanted: Wanted) -> list[Task]:
    rows = await services.tracker.page(wanted)
    if not rows and services.tracker.problem is not None:
        raise unavailable("tasks can't be looked up yet: try again")
    return [shown(services, wanted.tenant, id_, row) for id_, row in rows]


def _labels(request: Request) -> dict[str, str]:
    labels: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if not name.startswith(_METADATA):
            continue
        key = name.removeprefix(_METADATA)
        if key in labels or len(labels) == _MOST_LABELS:
            raise _wrong(name, f"at most {_MOST_LABELS} of them, each key once")
        labels[key] = value
    return labels


def _cursor(id_: str) -> str:
    return urlsafe_b64encode(id_.encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> str:
    try:
        id_ = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError:
        id_ = ""
    if not id_ or _cursor(id_) != cursor:
        raise _wrong("cursor", "it is not from `next` of a page of tasks")
    return id_


def _wrong(param: str, what: str) -> ApiError:
    message = f"{param[:80]}: {what}"
    return ApiError(
        ErrorBody(message=message, type=ErrorType.INVALID_REQUEST, param=param[:200], code=Code.INVALID_REQUEST)
    )
