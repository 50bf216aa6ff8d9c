"""The one error shape for every answer that is not a success, also for those that the framework gives by itself."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from math import ceil

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match, Mount

from schemas.errors import Code, EaselError, ErrorBody, ErrorShape, ErrorType
from transport.errors import TransportError

__all__ = [
    "ANTICIPATED",
    "ApiError",
    "InDoubtError",
    "answer_to",
    "as_api_error",
    "error_answer",
    "handle_errors",
    "in_doubt",
    "refusal",
    "status_of",
    "unavailable",
]

log = logging.getLogger(__name__)

_STATUS: dict[str, int] = {
    Code.RECORD_TOO_LARGE: 413,
    Code.TENANT_NOT_ALLOWED: 403,
    Code.TENANT_SUSPENDED: 403,
    Code.MODEL_NOT_ALLOWED: 403,
    Code.MODEL_NOT_FOUND: 404,
    Code.PRIORITY_NOT_ALLOWED: 403,
    Code.ID_CONFLICT: 409,
    Code.ALREADY_ENDED: 409,
    Code.NOT_ENDED: 409,
    Code.IDEMPOTENCY_CONFLICT: 422,
    Code.RATE_LIMITED: 429,
    Code.BUDGET_DAY_EXCEEDED: 429,
    Code.BUDGET_MONTH_EXCEEDED: 429,
    Code.QUEUE_FULL: 429,
    Code.SERVICE_UNAVAILABLE: 503,
}
_STATUS_OF_TYPE: dict[str, int] = {
    ErrorType.INVALID_REQUEST: 400,
    ErrorType.AUTHENTICATION: 401,
    ErrorType.PERMISSION: 403,
    ErrorType.RATE_LIMIT: 429,
    ErrorType.QUOTA: 429,
    ErrorType.NOT_FOUND: 404,
    ErrorType.SERVER: 500,
}
_RETRY_AFTER_S = 1
_QUEUE_S = 5
"""When room in a queue will be is not known: soon enough to be there, seldom enough to be no burden."""
_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")


class ApiError(Exception):
    """An answer other than success. ``status`` follows from the code when absent."""

    def __init__(
        self, error: ErrorBody, *, status: int | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(error.message)
        self.error = error
        self.status = status_of(error) if status is None else status
        self.headers = dict(headers or {})


class InDoubtError(ApiError):
    """503, and what was asked may have been done nonetheless: only what is recognized may be sent again."""


ANTICIPATED = (ApiError, EaselError, TransportError, ClientDisconnect, HTTPException, RequestValidationError)
"""What is answered for itself; all else is 500, and its traceback is in the log."""


def status_of(error: ErrorBody) -> int:
    """The HTTP status that says the same as ``error``; 500 for codes and types that are not known here."""
    return _STATUS.get(error.code) or _STATUS_OF_TYPE.get(error.type, 500)


def refusal(error: ErrorBody, retry_after_s: float | None, headers: Mapping[str, str]) -> ApiError:
    """What admission refused, as an answer."""
    if error.code == Code.QUEUE_FULL and retry_after_s is None:
        retry_after_s = _QUEUE_S
    # Rounded up: a client that comes back on the second must not be a moment too early.
    wait = {} if retry_after_s is None else {"Retry-After": str(max(1, ceil(retry_after_s)))}
    return ApiError(error, headers={**headers, **wait})


def unavailable(message: str, *, headers: Mapping[str, str] | None = None) -> ApiError:
    """503: nothing is wrong with the request, and it may be repeated in a moment."""
    error = ErrorBody(message=message, type=ErrorType.SERVER, code=Code.SERVICE_UNAVAILABLE)
    return ApiError(error, headers=_soon(headers))


def in_doubt(message: str, *, headers: Mapping[str, str] | None = None) -> InDoubtError:
    """503 for what may have been done."""
    error = ErrorBody(message=message, type=ErrorType.SERVER, code=Code.SERVICE_UNAVAILABLE)
    return InDoubtError(error, headers=_soon(headers))


def _soon(headers: Mapping[str, str] | None) -> dict[str, str]:
    return {"Retry-After": str(_RETRY_AFTER_S), **(headers or {})}


def error_answer(error: ApiError) -> JSONResponse:
    """The response for ``error``."""
    content = ErrorShape(error=error.error).model_dump(mode="json")
    return JSONResponse(content, status_code=error.status, headers=error.headers)


def handle_errors(app: FastAPI) -> None:
    """Give every error of ``app`` the one shape."""

    async def handle(request: Request, error: Exception) -> Response:
        return answer_to(request, error)

    for kind in (*ANTICIPATED, Exception):
        app.add_exception_handler(kind, handle)


def answer_to(request: Request, error: Exception) -> Response:
    """The response for what was raised while ``request`` was served."""
    if isinstance(error, ClientDisconnect):
        # Nobody hears it: for the log and the metrics, where nginx's 499 says that the client left.
        return Response(status_code=499)
    if isinstance(error, HTTPException) and error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return error_answer(_wrong_method(request))
    return error_answer(as_api_error(error))


def as_api_error(error: Exception) -> ApiError:
    """What ``error`` is for a caller; what is not anticipated is logged, and says nothing of itself."""
    match error:
        case ApiError():
            return error
        case EaselError():
            return ApiError(error.body())
        case TransportError():
            log.warning("answered 503: %s", error)
            return unavailable("a service that easel needs does not answer: try again")
        case RequestValidationError():
            return _invalid(error)
        case HTTPException():
            return _of_framework(error)
    log.error("answered 500: %s: %s", type(error).__name__, error)
    body = ErrorBody(message="something went wrong here", type=ErrorType.SERVER, code=Code.INTERNAL_ERROR)
    return ApiError(body)


def _invalid(error: RequestValidationError) -> ApiError:
    first = error.errors()[0]
    # The first part of the place is where it was found: path, query or header.
    param = ".".join(str(part) for part in first["loc"][1:])[:200] or None
    message = f"{param}: {first['msg']}" if param else str(first["msg"])
    return ApiError(ErrorBody(message=message, type=ErrorType.INVALID_REQUEST, param=param, code=Code.INVALID_REQUEST))


def _wrong_method(request: Request) -> ApiError:
    # The framework names the methods of the first route that has this path; others of it may take more.
    routes = [route for route in request.app.routes if not isinstance(route, Mount)]
    possible = [
        method
        for method in _METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]
    # What is mounted are files.
    allowed = ", ".join(possible or ("GET", "HEAD"))
    body = ErrorBody(
        message=f"{request.method} is not possible here; this is: {allowed}",
        type=ErrorType.INVALID_REQUEST,
        code=Code.INVALID_REQUEST,
    )
    return ApiError(body, status=HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": allowed})


def _of_framework(error: HTTPException) -> ApiError:
    if error.status_code == HTTPStatus.NOT_FOUND:
        body = ErrorBody(message="there is nothing here", type=ErrorType.NOT_FOUND, code=Code.NOT_FOUND)
    elif error.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        body = ErrorBody(message=str(error.detail), type=ErrorType.SERVER, code=Code.INTERNAL_ERROR)
    else:
        body = ErrorBody(message=str(error.detail), type=ErrorType.INVALID_REQUEST, code=Code.INVALID_REQUEST)
    return ApiError(body, status=error.status_code, headers=error.headers)
