"""Who is asking: by an API key, known by its hash in ``tenants.yaml``, or by the token of a user who signed in."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from producer_api.errors import ApiError, refusal
from producer_api.request_log import caller, note
from producer_api.services import Services
from schemas.errors import Code, ErrorBody, ErrorType
from schemas.tenants import ApiCaller

__all__ = ["TenantDep", "authenticated", "bearer_scheme", "header_scheme"]

_MAX_KEY_CHARS = 1024

bearer_scheme = HTTPBearer(
    auto_error=False, description="An API key, or a token from `POST /token`, as a bearer token."
)
header_scheme = APIKeyHeader(name="X-API-Key", auto_error=False, description="The same in a header of its own.")


async def authenticated(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer_scheme)],
    header: Annotated[str | None, Depends(header_scheme)],
) -> str:
    """The tenant for whom a request asks, by its API key or the token of a user; ``caller`` then says whose.

    Raises ``ApiError`` (401, 429).
    """
    key = bearer.credentials if bearer is not None else header
    services: Services = request.app.state.services
    found = None
    if key and len(key) <= _MAX_KEY_CHARS:
        found = services.keyring.caller_of(key) or _user_of(services, key, asks=request.method == "POST")
    if found is None:
        what = (
            "is not valid, or was withdrawn" if key else "is missing: send `Authorization: Bearer KEY` or `X-API-Key`"
        )
        error = ErrorBody(message=f"the API key {what}", type=ErrorType.AUTHENTICATION, code=Code.API_KEY_INVALID)
        raise ApiError(error, headers={"WWW-Authenticate": "Bearer"})
    caller.set(found.name)
    note(tenant=found.tenant, caller=found.name)
    return found.tenant


def _user_of(services: Services, token: str, *, asks: bool) -> ApiCaller | None:
    user = None if services.logins is None else services.logins.user_of(token)
    # A tenant that the file does not have could sign nothing that admission answers.
    if services.logins is None or user is None or services.keyring.tenant(user.tenant) is None:
        return None
    if asks and (wait_s := services.logins.wait_s(user)):
        error = ErrorBody(
            message=f"more than {user.requests_per_minute} requests a minute by the user {user.user!r}",
            type=ErrorType.RATE_LIMIT,
            code=Code.RATE_LIMITED,
        )
        raise refusal(error, wait_s, {})
    return ApiCaller(user.tenant, f"user:{user.user}")


TenantDep = Annotated[str, Depends(authenticated)]
