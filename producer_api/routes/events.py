"""``GET /v1/tasks/{id}/events``: what happens to a task, while it happens."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.security import APIKeyQuery, HTTPAuthorizationCredentials
from pydantic import BaseModel

from producer_api.auth import TenantDep, authenticated, bearer_scheme, header_scheme
from producer_api.errors import ApiError
from producer_api.event_stream import ENDED, event_stream, place_of
from producer_api.finding import find_task, require_known
from producer_api.routes.tasks import TaskId
from producer_api.services import ServicesDep
from producer_api.tickets import TICKET_S, issue_ticket, tenant_of_ticket
from schemas.errors import Code, ErrorBody, ErrorType

__all__ = ["router"]

router = APIRouter(tags=["tasks"])

_HEADERS = {
    "Cache-Control": "no-store",
    # nginx would gather what is to be seen at once.
    "X-Accel-Buffering": "no",
}
# What a document says of a stream is said of each of its events.
_EVENT = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("id", "event", "data")} | {"retry": {"type": "integer"}},
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"text/event-stream": {"schema": _EVENT}},
        "description": "`accepted`, `progress`, `preview`, and one of `succeeded`, `failed`, `canceled`, `rejected`.",
    },
    204: {"description": "`Last-Event-ID` is `end`: nothing more happens. A browser stops asking."},
    404: {},
    503: {},
}

_ticket_scheme = APIKeyQuery(
    name="ticket", auto_error=False, description="For a browser's `EventSource`: from `POST …/events/ticket`."
)


class Ticket(BaseModel):
    """``url``: a path on this server, for an ``EventSource``."""

    url: str
    expires_at: datetime


async def _reader(
    request: Request,
    services: ServicesDep,
    id_: TaskId,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer_scheme)],
    header: Annotated[str | None, Depends(header_scheme)],
    ticket: Annotated[str | None, Depends(_ticket_scheme)],
) -> str:
    """The tenant who reads, by a ticket or as everywhere."""
    if ticket is None:
        return await authenticated(request, bearer, header)
    tenant = tenant_of_ticket(services, ticket, id_)
    if tenant is None:
        message = "the ticket is not valid for these events, or no more: ask for another one"
        raise ApiError(ErrorBody(message=message, type=ErrorType.AUTHENTICATION, code=Code.API_KEY_INVALID))
    return tenant


@router.get("/v1/tasks/{id}/events", response_class=StreamingResponse, summary="Follow a task", responses=_ANSWERS)
async def events(
    id_: TaskId,
    tenant: Annotated[str, Depends(_reader)],
    services: ServicesDep,
    last_event_id: Annotated[str | None, Header(description="Only what came after this event.")] = None,
) -> Response:
    """Server-sent events, until the task has ended.

    `data` is JSON: the task, or how far it is. A reader that was cut off sends `Last-Event-ID`, as browsers do, and
    misses no end and is told nothing twice; of the progress meanwhile it gets the newest. Every 15 seconds without an
    event there is a comment.
    """
    require_known(services, id_, await find_task(services, tenant, id_))
    if last_event_id == ENDED:
        return Response(status_code=204, headers=_HEADERS)
    told = event_stream(services, tenant, id_, place_of(last_event_id))
    return StreamingResponse(told, media_type="text/event-stream", headers=_HEADERS)


@router.post(
    "/v1/tasks/{id}/events/ticket",
    summary="A URL for a browser to follow a task",
    responses={status: {} for status in (404, 503)},
)
async def ticket(id_: TaskId, response: Response, tenant: TenantDep, services: ServicesDep) -> Ticket:
    """A URL with which anyone can follow this task, and nothing else, for 5 minutes; for pages that hold no API key."""
    require_known(services, id_, await find_task(services, tenant, id_))
    response.headers["Cache-Control"] = "no-store"
    expires_at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=TICKET_S)
    return Ticket(url=f"/v1/tasks/{id_}/events?ticket={issue_ticket(services, tenant, id_)}", expires_at=expires_at)
