"""``POST /v1/generate``: sign, publish, wait for admission's decision, and answer with it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response

from producer_api.answers import Price, Task, price_of
from producer_api.asking import ask
from producer_api.auth import TenantDep
from producer_api.errors import refusal, unavailable
from producer_api.receiving import receive
from producer_api.services import Services, ServicesDep
from producer_api.submitting import REQUEST_ID, submit
from schemas.events import Priced, Rejected
from schemas.requests import GenerationRequest

__all__ = ["router"]

router = APIRouter(tags=["generation"])

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/GenerateBody"},
                "examples": {
                    "short": {
                        "summary": "The model's defaults for the rest",
                        "value": {"prompt": "a small red circle on a white background", "model": "easel-tiny"},
                    },
                    "full": {
                        "summary": "Two pictures that can be made again",
                        "value": {
                            "prompt": "a small red circle left of a large blue square on a white background",
                            "model": "easel-tiny",
                            "images": 2,
                            "steps": 12,
                            "guidance": 3.0,
                            "seed": 7,
                            "format": "png",
                            "metadata": {"post": "1234"},
                        },
                    },
                },
            }
        },
    }
}


@router.post(
    "/v1/generate",
    status_code=202,
    response_model=Task | Price,
    response_model_exclude_none=True,
    openapi_extra=_BODY,
    summary="Ask for pictures",
    responses={
        200: {"model": Price, "description": "The answer to a dry run: nothing was held."},
        202: {"model": Task, "description": "The task, old or new."},
        **{status: {} for status in (400, 403, 404, 409, 413, 415, 422, 429, 503)},
    },
)
async def generate(
    request: Request,
    response: Response,
    tenant: TenantDep,
    services: ServicesDep,
    easel_request_id: Annotated[
        str | None,
        Header(
            description="A UUIDv7 of your own. Sending it again with the same body is the same request, charged once."
        ),
    ] = None,
    idempotency_key: Annotated[
        str | None,
        Header(
            description="Any name of your own for this request, such as an order's number: 1 to 255 visible ASCII "
            "characters. As long as the request is remembered (72 hours after its end, unless set otherwise), the same "
            "key with the same body is answered with the same task."
        ),
    ] = None,
    traceparent: Annotated[str | None, Header(description="W3C trace context, carried through to the result.")] = None,
) -> Task | Price:
    """Publish a request and answer with what admission decided.

    `202` with the state `accepted` means that the request is in the ledger and its cost is held. When the decision does
    not come in time, the state is `submitted`: ask for the task, or send the request again with the same
    `Easel-Request-Id` or `Idempotency-Key`. With `"dry_run": true` the answer is `200` with the price, and whether the
    request would be accepted at this moment. Any other status is a refusal, and nothing was charged.
    """
    asked = (await receive(request, services, tenant)).to_request()
    if asked.dry_run:
        response.status_code = 200
        return await _price(services, tenant, asked)
    task = await submit(
        services,
        tenant,
        asked,
        request_id=easel_request_id,
        idempotency_key=idempotency_key,
        traceparent=traceparent,
    )
    response.headers.update({REQUEST_ID: task.id, "Location": task.links.self_})
    return task


async def _price(services: Services, tenant: str, asked: GenerationRequest) -> Price:
    match await ask(services, tenant, asked):
        case Priced() as priced:
            return price_of(priced)
        case Rejected() as rejected:
            raise refusal(rejected.error, rejected.retry_after_s, {})
    raise unavailable("there was no answer in time: try again")
