"""``/v1/images/…`` and ``/v1/models``: what programs written for OpenAI's Images API ask for."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request, Response
from fastapi.responses import StreamingResponse

from producer_api.auth import TenantDep
from producer_api.errors import InDoubtError, as_api_error
from producer_api.idempotency import key_of
from producer_api.openai.answers import ImagesAnswer, Route, answer_of
from producer_api.openai.body import EditBody, ImagesBody, read_images_body
from producer_api.openai.edits import read_edit
from producer_api.openai.errors import OpenAIRoute
from producer_api.openai.models import Model, Models, chosen, model_of, models_of
from producer_api.openai.sizes import fitted
from producer_api.openai.streaming import stream
from producer_api.openai.waiting import not_again, until_made
from producer_api.rate_limits import rate_limit_headers
from producer_api.reading import read_object
from producer_api.services import Services, ServicesDep
from producer_api.submitting import REQUEST_ID, submit
from schemas.requests import GenerationRequest
from transport.errors import TransportError

__all__ = ["router"]

router = APIRouter(tags=["as OpenAI"], route_class=OpenAIRoute)

_Key = Annotated[
    str | None,
    Header(
        description="Any name of your own for this request. Sending it again with the same key waits for the same "
        "pictures, which are charged once."
    ),
]
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {} for status in (400, 403, 404, 408, 409, 413, 415, 422, 429, 500, 503, 504)
}
_GENERATIONS: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/ImagesBody"},
                "examples": {
                    "short": {
                        "value": {"prompt": "a small red circle on a white background", "model": "easel-tiny", "n": 2}
                    }
                },
            }
        },
    }
}
_BINARY = {"type": "string", "format": "binary"}
# Not by reference: what may not have more fields can't be combined with any.
_EDIT = EditBody.model_json_schema(ref_template="#/components/schemas/{model}")
_EDIT.pop("$defs", None)
_EDITS: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    **_EDIT,
                    "properties": {**_EDIT["properties"], "image": _BINARY, "mask": _BINARY},
                    "required": [*_EDIT["required"], "image"],
                }
            }
        },
    }
}


@router.get("/v1/models", summary="The models that the caller may use", responses={503: {}})
async def models(tenant: TenantDep, services: ServicesDep) -> Models:
    """By their names, and by the aliases that the catalogue has for them."""
    return models_of(services, tenant)


@router.get("/v1/models/{id}", summary="One model", responses={404: {}, 503: {}})
async def model(
    id_: Annotated[str, Path(alias="id", max_length=100)], tenant: TenantDep, services: ServicesDep
) -> Model:
    """One of those."""
    return model_of(services, tenant, id_)


@router.post(
    "/v1/images/generations",
    response_model=ImagesAnswer,
    response_model_exclude_none=True,
    openapi_extra=_GENERATIONS,
    summary="Pictures from a prompt, waited for",
    responses={200: {"content": {"text/event-stream": {}}}, **_ERRORS},
)
async def generations(
    request: Request, tenant: TenantDep, services: ServicesDep, idempotency_key: _Key = None
) -> Response:
    """Answers when the pictures are done; with `stream`, as server-sent events on the way."""
    body = read_images_body(await read_object(request), ImagesBody)
    asked = body.to_request(chosen(services, tenant, body.model))
    return await _answered(services, tenant, asked, body, "image_generation", request, idempotency_key)


@router.post(
    "/v1/images/edits",
    response_model=ImagesAnswer,
    response_model_exclude_none=True,
    openapi_extra=_EDITS,
    summary="A picture made from another, waited for",
    responses={200: {"content": {"text/event-stream": {}}}, **_ERRORS},
)
async def edits(request: Request, tenant: TenantDep, services: ServicesDep, idempotency_key: _Key = None) -> Response:
    """With a `mask`, only its transparent parts are made anew; else the whole picture is made from the given one."""
    edit = await read_edit(request, services, tenant)
    model = chosen(services, tenant, edit.body.model)
    asked = edit.body.to_request(
        model,
        size=fitted(model.card, edit.image.width, edit.image.height),
        source_image=edit.image.key,
        mask_image=None if edit.mask is None else edit.mask.key,
    )
    return await _answered(services, tenant, asked, edit.body, "image_edit", request, idempotency_key)


async def _answered(
    services: Services,
    tenant: str,
    asked: GenerationRequest,
    body: ImagesBody,
    route: Route,
    request: Request,
    key: str | None,
) -> Response:
    key = key_of(key)
    keyed = key is not None
    trace = request.headers.get("traceparent")
    try:
        task = await submit(services, tenant, asked, idempotency_key=key, traceparent=trace)
    except InDoubtError as error:
        raise error if keyed else not_again(error) from None
    headers = {REQUEST_ID: task.id, **rate_limit_headers(task.limits)}
    if body.stream:
        told = stream(services, tenant, task.id, body, route, keyed=keyed)
        headers |= {"X-Accel-Buffering": "no", "Cache-Control": "no-store"}
        return StreamingResponse(told, media_type="text/event-stream", headers=headers)
    try:
        made = await until_made(services, tenant, task.id, request, keyed=keyed)
        return await answer_of(services, body, made, headers)
    except TransportError as error:
        away = as_api_error(error)
        away.headers[REQUEST_ID] = task.id
        raise away if keyed else not_again(away) from None
