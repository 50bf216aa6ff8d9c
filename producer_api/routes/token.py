"""``POST /token``: a name and a password become a token to ask with for a day."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel

from producer_api.dialect import FlatErrors, FlatShape
from producer_api.errors import ApiError, refusal, unavailable
from producer_api.login.form import field, read_form
from producer_api.login.logins import Logins, Pair, TooManyTriesError
from producer_api.login.passwords import BusyError
from producer_api.login.tokens import ACCESS_S
from producer_api.services import ServicesDep
from schemas.errors import Code, ErrorBody, ErrorType

__all__ = ["router"]

router = APIRouter(tags=["signing in"], route_class=FlatErrors)


class TokenAnswer(BaseModel):
    """RFC 6749. ``expires_in``: seconds of the access token; the refresh token lives 30 days."""

    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - the name of a kind
    expires_in: int = ACCESS_S
    refresh_token: str


async def _logins(services: ServicesDep) -> Logins:
    if services.logins is None:
        body = ErrorBody(
            message="nobody can sign in here: use an API key, or have the operator set EASEL_API_USERS_FILE and"
            " EASEL_API_TOKEN_SECRET_FILE",
            type=ErrorType.NOT_FOUND,
            code=Code.NOT_FOUND,
        )
        raise ApiError(body)
    return services.logins


_LoginsDep = Annotated[Logins, Depends(_logins)]


def _form(*required: str, **optional: str) -> dict[str, Any]:
    properties = {name: {"type": "string", "maxLength": 4096} for name in (*required, *optional)}
    for name, said in optional.items():
        properties[name]["description"] = said
    schema = {"type": "object", "required": list(required), "properties": properties}
    kinds = ("application/x-www-form-urlencoded", "application/json")
    return {"requestBody": {"required": True, "content": {kind: {"schema": schema} for kind in kinds}}}


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    meanings = {
        400: "A field is missing, or the grant is of another kind.",
        401: "The name and password, or the refresh token, are not good.",
        404: "Nobody can sign in at this installation.",
        408: "The body did not arrive in time.",
        413: "The body is too large.",
        415: "The body is neither a form nor JSON.",
        429: "This name was tried too often: `Retry-After` says when to come back.",
        503: "Too many sign in at once, or the store does not answer: try again after `Retry-After`.",
    }
    return {status: {"model": FlatShape, "description": meanings[status]} for status in statuses}


@router.post(
    "/token",
    openapi_extra=_form(
        "username", "password", grant_type="`password`, which is meant when absent; or `refresh_token`."
    ),
    summary="Sign in",
    responses=_errors(400, 401, 404, 408, 413, 415, 429, 503),
)
async def sign_in(request: Request, response: Response, logins: _LoginsDep) -> TokenAnswer:
    """The password flow of OAuth 2: a token to ask with for 24 hours, and one to get the next with."""
    fields = await read_form(request)
    match fields.get("grant_type", "password"):
        case "password":
            pair = await _signed_in(logins, field(fields, "username"), field(fields, "password"))
        case "refresh_token":
            pair = await logins.refresh(field(fields, "refresh_token"))
        case _:
            error = ErrorBody(
                message="grant_type: it is `password` or `refresh_token`",
                type=ErrorType.INVALID_REQUEST,
                param="grant_type",
                code=Code.INVALID_REQUEST,
            )
            raise ApiError(error)
    return _answer(pair, response)


@router.post(
    "/token/refresh",
    openapi_extra=_form("refresh_token"),
    summary="Go on being signed in",
    responses=_errors(400, 401, 404, 408, 413, 415, 503),
)
async def refresh(request: Request, response: Response, logins: _LoginsDep) -> TokenAnswer:
    """The next two tokens. A refresh token can be used once; a second use ends the sign-in that it belongs to."""
    fields = await read_form(request)
    return _answer(await logins.refresh(field(fields, "refresh_token")), response)


@router.post(
    "/token/revoke",
    status_code=204,
    openapi_extra=_form("token"),
    summary="Sign out",
    responses=_errors(400, 404, 408, 413, 415, 503),
)
async def revoke(request: Request, logins: _LoginsDep) -> None:
    """End a sign-in by its refresh token (RFC 7009); one that is not good is no error.

    An access token goes on until it expires: to end those too, the operator changes the user's entry.
    """
    fields = await read_form(request)
    await logins.revoke(field(fields, "token"))


async def _signed_in(logins: Logins, name: str, password: str) -> Pair | None:
    try:
        return await logins.sign_in(name, password)
    except TooManyTriesError as error:
        body = ErrorBody(message="this name was tried too often", type=ErrorType.RATE_LIMIT, code=Code.RATE_LIMITED)
        raise refusal(body, error.retry_after_s, {}) from None
    except BusyError:
        raise unavailable("too many sign in at once: try again") from None


def _answer(pair: Pair | None, response: Response) -> TokenAnswer:
    if pair is None:
        error = ErrorBody(
            message="the name and the password, or the refresh token, are not good",
            type=ErrorType.AUTHENTICATION,
            code=Code.LOGIN_INVALID,
        )
        raise ApiError(error, headers={"WWW-Authenticate": "Bearer"})
    # What a token is must stay in no cache (RFC 6749, 5.1).
    response.headers["Cache-Control"] = "no-store"
    return TokenAnswer(access_token=pair.access, refresh_token=pair.refresh)
