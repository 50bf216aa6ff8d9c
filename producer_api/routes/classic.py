"""``POST /api/v1/generate`` and ``GET /v1/task/{id}``: for clients of the services that easel replaces."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request, Response

from producer_api.auth import TenantDep
from producer_api.classic.answers import ClassicTask, classic_task
from producer_api.classic.body import read_classic_body
from producer_api.dialect import FlatErrors, FlatShape
from producer_api.finding import find_task, require_known
from producer_api.idempotency import key_of
from producer_api.openai.models import chosen
from producer_api.rate_limits import rate_limit_headers
from producer_api.reading import read_object
from producer_api.services import ServicesDep
from producer_api.submitting import REQUEST_ID, submit

__all__ = ["router"]

router = APIRouter(tags=["as before"], route_class=FlatErrors)

_MEANINGS = {
    400: "The request is not valid; `error.param` names the field.",
    401: "The key or token is missing, unknown or withdrawn.",
    403: "The tenant may not do this.",
    404: "There is no such model, or no such task of the caller's.",
    408: "The body did not arrive in time.",
    409: "It does not fit what is there.",
    410: "Nothing is known any more of a task that old.",
    413: "The body is too large.",
    415: "The body is not `application/json`.",
    422: "The `Idempotency-Key` came before, with another body.",
    429: "A limit of the user or the tenant: `Retry-After` says when to come back, where that is known.",
    503: "Kafka does not answer: try again after `Retry-After`.",
}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/ClassicBody"},
                "examples": {
                    "short": {"value": {"prompt": "a small red circle", "num_images": 2, "cfg_scale": 3.0, "steps": 12}}
                },
            }
        },
    }
}


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": FlatShape, "description": _MEANINGS[status]} for status in statuses}


@router.post(
    "/api/v1/generate",
    response_model_exclude_none=True,
    openapi_extra=_BODY,
    summary="Ask for pictures",
    responses=_errors(*(_MEANINGS.keys() - {410})),
)
async def generate(
    request: Request,
    response: Response,
    tenant: TenantDep,
    services: ServicesDep,
    idempotency_key: Annotated[
        str | None, Header(description="Any name of your own: the same key and body are the same task.")
    ] = None,
) -> ClassicTask:
    """Answers at once with the task; ask for it until it is `completed`."""
    body = read_classic_body(await read_object(request))
    asked = body.to_request(chosen(services, tenant, body.model).name)
    task = await submit(
        services, tenant, asked, idempotency_key=key_of(idempotency_key), traceparent=request.headers.get("traceparent")
    )
    response.headers.update({REQUEST_ID: task.id, **rate_limit_headers(task.limits)})
    return classic_task(task)


@router.get(
    "/api/v1/task/{id}", response_model_exclude_none=True, summary="A task", responses=_errors(400, 401, 404, 503)
)
@router.get("/v1/task/{id}", response_model_exclude_none=True, summary="A task", responses=_errors(400, 401, 404, 503))
async def task(
    id_: Annotated[str, Path(alias="id", max_length=64)], tenant: TenantDep, services: ServicesDep
) -> ClassicTask:
    """Where a request stands, and its pictures."""
    return classic_task(require_known(services, id_, await find_task(services, tenant, id_)))
