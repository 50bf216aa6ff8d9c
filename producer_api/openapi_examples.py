"""What answers look like, for the OpenAPI document: each is of its own shape, and so says nothing that can't be."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from producer_api.answers import Group, Links, Task, TaskPage, task_of_decision, task_of_row
from producer_api.task_file import Row
from schemas.errors import Code, ErrorBody, ErrorType
from schemas.events import Accepted, Succeeded
from schemas.outputs import Output, manifest_key, output_key

__all__ = ["ERRORS", "example_of"]

_TENANT, _ID = "acme", "019aa4d2-6c00-7000-8000-000000000001"
_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_AT_MS = 1_763_712_000_000

ERRORS: dict[int, ErrorBody] = {
    400: ErrorBody(
        message="images: Input should be less than or equal to 10",
        type=ErrorType.INVALID_REQUEST,
        param="images",
        code=Code.INVALID_REQUEST,
    ),
    401: ErrorBody(
        message="the API key is not valid, or was withdrawn", type=ErrorType.AUTHENTICATION, code=Code.API_KEY_INVALID
    ),
    403: ErrorBody(
        message="the tenant 'acme' is suspended: ask the operator",
        type=ErrorType.PERMISSION,
        code=Code.TENANT_SUSPENDED,
    ),
    404: ErrorBody(message=f"there is no task '{_ID}'", type=ErrorType.NOT_FOUND, param="id", code=Code.NOT_FOUND),
    409: ErrorBody(
        message="this id belongs to another request of yours: make a new id",
        type=ErrorType.INVALID_REQUEST,
        param="ce_id",
        code=Code.ID_CONFLICT,
    ),
    410: ErrorBody(
        message="the pictures of this task were deleted", type=ErrorType.NOT_FOUND, param="id", code=Code.NOT_FOUND
    ),
    413: ErrorBody(
        message="the body is larger than 262144 bytes", type=ErrorType.INVALID_REQUEST, code=Code.RECORD_TOO_LARGE
    ),
    415: ErrorBody(
        message="the content type is 'text/plain': send application/json",
        type=ErrorType.INVALID_REQUEST,
        code=Code.INVALID_REQUEST,
    ),
    416: ErrorBody(
        message="Range: the picture has 15342 bytes",
        type=ErrorType.INVALID_REQUEST,
        param="Range",
        code=Code.INVALID_REQUEST,
    ),
    422: ErrorBody(
        message="this idempotency key belongs to another request of yours: make a new key",
        type=ErrorType.INVALID_REQUEST,
        param="ce_idempotencykey",
        code=Code.IDEMPOTENCY_CONFLICT,
    ),
    429: ErrorBody(message="more than 60 requests a minute", type=ErrorType.RATE_LIMIT, code=Code.RATE_LIMITED),
    503: ErrorBody(
        message=f"Kafka does not answer: try again with the header Easel-Request-Id: {_ID}",
        type=ErrorType.SERVER,
        code=Code.SERVICE_UNAVAILABLE,
    ),
}


def example_of(shape: str) -> dict[str, Any] | None:
    """An answer of the shape of this name, as JSON; None where its fields say enough."""
    made = {"Task": _ended, "Group": _group, "TaskPage": _page}.get(shape)
    return None if made is None else _shown(made())


def _shown(answer: BaseModel) -> dict[str, Any]:
    return answer.model_dump(mode="json", by_alias=True, exclude_none=True)


def _decision() -> Accepted:
    return Accepted(
        tenant=_TENANT,
        request_id=_ID,
        model="easel-tiny",
        cost_milliunits=211,
        position=0,
        seed=7,
        metadata={"post": "1234"},
    )


def _ended() -> Task:
    output = Output(
        index=0,
        key=output_key(_TENANT, _ID, 0, _SHA256, "png"),
        sha256=_SHA256,
        bytes=15_342,
        media_type="image/png",
        width=96,
        height=96,
        seed=7,
    )
    ending = Succeeded(
        tenant=_TENANT,
        request_id=_ID,
        attempt=1,
        model="easel-tiny",
        weights_revision="r1",
        outputs=[output],
        manifest=manifest_key(_TENANT, _ID),
        cost_milliunits=211,
        refunded_milliunits=0,
        waited_ms=5,
        engine_ms=412,
        metadata={"post": "1234"},
    )
    decision, end = _decision().model_dump_json(), ending.model_dump_json()
    return task_of_row(_ID, Row("succeeded", _AT_MS, _AT_MS, decision, end, None, None, None, 0, None))


def _group() -> Group:
    task = task_of_decision(_ID, _decision())
    task.group = "spring-issue"
    links = Links(self_="/v1/groups/spring-issue")
    return Group(id="spring-issue", counts={"accepted": 1}, tasks=[task], links=links)


def _page() -> TaskPage:
    return TaskPage(tasks=[_ended()], next="/v1/tasks?limit=1&cursor=MDE5YWE0ZDI")
