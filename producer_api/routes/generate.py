"""``POST /v1/generate``: sign, publish, wait for admission's decision, and answer with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response

from producer_api.answers import FINAL, Group, Price, Task, price_of
from producer_api.asking import ask
from producer_api.auth import TenantDep, authenticated, bearer_scheme, header_scheme
from producer_api.batch import submit_batch, until_all_ended
from producer_api.connected import while_connected
from producer_api.errors import refusal, unavailable
from producer_api.idempotency import key_of
from producer_api.inlining import inlined
from producer_api.preferring import wait_of
from producer_api.rate_limits import rate_limit_headers
from producer_api.receiving import receive
from producer_api.services import Services, ServicesDep, services_of
from producer_api.submitting import REQUEST_ID, submit, until_ended
from schemas.events import Priced, Rejected
from schemas.requests import GenerationRequest

__all__ = ["generate_for", "router"]

_NOBODY_THERE = 499
"""For the log alone."""


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
                    "batch": {
                        "summary": "A task for each prompt, and a group of them",
                        "value": {
                            "prompts": ["a small red circle", "a large blue square"],
                            "model": "easel-tiny",
                            "seed": 7,
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
    response_model=None,
    openapi_extra=_BODY,
    summary="Ask for pictures",
    responses={
        200: {
            "model": Task | Group | Price,
            "description": "With `Prefer: wait`, what has ended; or the price that a dry run asks for.",
        },
        202: {
            "model": Task | Group,
            "description": "The task, old or new; or for `prompts`, the group of their tasks.",
        },
        207: {"model": Group, "description": "Some of the `prompts` were refused: each task says what became of it."},
        **{status: {} for status in (400, 403, 404, 409, 413, 415, 422, 429, 503)},
    },
)
async def generate(
    request: Request,
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
            "characters, in quotes or not. As long as the request is remembered (72 hours after its end, unless set "
            "otherwise), the same key with the same body is answered with the same task."
        ),
    ] = None,
    prefer: Annotated[
        list[str] | None,
        Header(description="`wait=30` answers once the pictures are there, or as it stands after 30 s; at most 60."),
    ] = None,
    traceparent: Annotated[str | None, Header(description="W3C trace context, carried through to the result.")] = None,
) -> Response:
    """Publish a request and answer with what admission decided.

    `202` with the state `accepted` means that the request is in the ledger and its cost is held. When the decision does
    not come in time, the state is `submitted`: ask for the task, or send the request again with the same
    `Easel-Request-Id` or `Idempotency-Key`. With `"dry_run": true` the answer is `200` with the price, and whether the
    request would be accepted at this moment. Any other status is a refusal, and nothing was charged.

    With `prompts` in place of `prompt`, each becomes a task of its own, which is accepted or refused by itself: `202`
    when all were accepted, `207` when some were, and the refusal itself when all were refused for one reason.
    """
    body = await receive(request, services, tenant)
    if body.dry_run:
        return _answer(await _price(services, tenant, body.to_request()), 200, {})
    key, wait_s = key_of(idempotency_key), wait_of(prefer or ())
    if body.prompts is not None:
        group = await submit_batch(
            services,
            tenant,
            body,
            request_id=easel_request_id,
            idempotency_key=key,
            traceparent=traceparent,
        )
        found: Task | Group | None = group
        headers = {"Location": group.links.self_}
        if wait_s is not None:
            found = await while_connected(request, until_all_ended(services, tenant, group, within_s=wait_s))
    else:
        task = await submit(
            services,
            tenant,
            body.to_request(),
            request_id=easel_request_id,
            idempotency_key=key,
            traceparent=traceparent,
        )
        found = task
        headers = {REQUEST_ID: task.id, "Location": task.links.self_, **rate_limit_headers(task.limits)}
        if wait_s is not None:
            found = await while_connected(request, until_ended(services, tenant, task.id, within_s=wait_s))
    if found is None:
        return Response(status_code=_NOBODY_THERE)
    if wait_s is not None:
        headers["Preference-Applied"] = f"wait={wait_s}"
    tasks = found.tasks if isinstance(found, Group) else [found]
    images = [image for task in tasks for image in task.outputs or ()]
    status = _status(tasks, waited=wait_s is not None)
    if body.response_format == "b64_json" and images:
        return await inlined(services, found, images, status=status, headers=headers)
    return _answer(found, status, headers)


async def generate_for(request: Request) -> Response:
    """What ``generate`` answers, with its parameters: all of them are headers that may be missing or anything."""
    headers = request.headers
    return await generate(
        request,
        await authenticated(request, await bearer_scheme(request), await header_scheme(request)),
        await services_of(request),
        easel_request_id=headers.get("easel-request-id"),
        idempotency_key=headers.get("idempotency-key"),
        prefer=headers.getlist("prefer"),
        traceparent=headers.get("traceparent"),
    )


def _status(tasks: list[Task], *, waited: bool) -> int:
    if any(task.state == "rejected" for task in tasks):
        return 207
    return 200 if waited and all(task.state in FINAL for task in tasks) else 202


def _answer(content: Task | Group | Price, status: int, headers: Mapping[str, str]) -> Response:
    text = content.model_dump_json(by_alias=True, exclude_none=True)
    return Response(text, status_code=status, headers=headers, media_type="application/json")


async def _price(services: Services, tenant: str, asked: GenerationRequest) -> Price:
    match await ask(services, tenant, asked):
        case Priced() as priced:
            return price_of(priced)
        case Rejected() as rejected:
            raise refusal(rejected.error, rejected.retry_after_s, {})
    raise unavailable("there was no answer in time: try again")
