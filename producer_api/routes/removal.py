"""``DELETE /v1/tasks/…``: stop a request, and remove the pictures of one that has ended."""

from __future__ import annotations

from typing import TypeVar

from fastapi import APIRouter, Response
from pydantic import ValidationError

from producer_api.answers import Deletion, Task, task_of_state
from producer_api.asking import ask
from producer_api.auth import TenantDep
from producer_api.errors import ApiError, refusal, unavailable
from producer_api.finding import find_task
from producer_api.routes.tasks import TaskId
from producer_api.services import ServicesDep
from producer_api.wire import Answer
from schemas.errors import Code, ErrorBody, ErrorType
from schemas.events import CancelAccepted, CancelRefused, Deleted, DeleteRefused, Rejected
from schemas.requests import CancelRequest, DeleteRequest

__all__ = ["router"]

router = APIRouter(tags=["tasks"])

_Naming = TypeVar("_Naming", CancelRequest, DeleteRequest)
_UNKNOWN = "unknown"
"""Where admission says that a request stands that it does not remember."""


@router.delete(
    "/v1/tasks/{id}",
    status_code=202,
    response_model_exclude_none=True,
    summary="Stop a request",
    responses={status: {} for status in (404, 409, 503)},
)
async def cancel(id_: TaskId, tenant: TenantDep, services: ServicesDep) -> Task:
    """Stop a request as soon as may be; `202` with the task as it stands.

    One that waits is `canceled` at once and costs nothing. One that runs stops at its next step and is charged for the
    steps that ran, unless it is `succeeded` first. `409` when it had ended. After a `404`, a request with this id that
    still arrives within 10 minutes is canceled too. To stop twice is safe.
    """
    answer = await ask(services, tenant, _naming(CancelRequest, id_))
    _raise_if_refused(answer)
    found = await find_task(services, tenant, id_)
    if found is not None:
        return found
    if isinstance(answer, CancelAccepted) and answer.state != _UNKNOWN:
        return task_of_state(id_, answer.state)
    if answer is None:
        raise unavailable("there was no answer in time: try again")
    raise _no_such_task(id_)


@router.delete(
    "/v1/tasks/{id}/outputs",
    response_model_exclude_none=True,
    summary="Delete the pictures of a task",
    responses={
        202: {"model": Deletion, "description": "A worker will do it."},
        **{status: {} for status in (404, 409, 503)},
    },
)
async def delete_outputs(id_: TaskId, response: Response, tenant: TenantDep, services: ServicesDep) -> Deletion:
    """Remove what the store holds of a request that has ended.

    `200` once it is gone, `202` when that has not been heard in time: it will be done, and to ask twice is safe. `409`
    when the request has not ended: stop it first.
    """
    answer = await ask(services, tenant, _naming(DeleteRequest, id_))
    _raise_if_refused(answer)
    if isinstance(answer, Deleted):
        return Deletion(id=id_, state="deleted", objects=answer.objects)
    response.status_code = 202
    return Deletion(id=id_, state="deleting")


def _naming(kind: type[_Naming], id_: str) -> _Naming:
    try:
        return kind(request_id=id_)
    except ValidationError:
        raise _no_such_task(id_) from None


def _raise_if_refused(answer: Answer | None) -> None:
    match answer:
        case CancelRefused() | DeleteRefused():
            raise refusal(answer.error, None, {})
        case Rejected():
            raise refusal(answer.error, answer.retry_after_s, {})


def _no_such_task(id_: str) -> ApiError:
    error = ErrorBody(message=f"there is no task {id_!r}", type=ErrorType.NOT_FOUND, param="id", code=Code.NOT_FOUND)
    return ApiError(error)
