"""Routes that speak as another service does: the same work, its errors and headers in that service's form."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from producer_api.errors import ApiError, as_api_error
from schemas.errors import ErrorShape

__all__ = ["Dialect", "FlatErrors", "FlatShape"]


class Dialect(APIRoute, ABC):
    """A route class; what its subclasses say of an error is answered instead of the general form."""

    @abstractmethod
    def told(self, error: ApiError) -> Response:
        """The answer for an error."""

    def finished(self, response: Response, seconds: float) -> Response:  # noqa: ARG002 - for those who say it
        """Every answer of the route, last of all; ``seconds`` is how long it took."""
        return response

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What serves a request, with its errors told in the dialect."""
        handle = super().get_route_handler()

        async def spoken(request: Request) -> Response:
            began = time.perf_counter()
            try:
                response = await handle(request)
            except Exception as error:
                response = self.told(as_api_error(error))
            return self.finished(response, time.perf_counter() - began)

        return spoken


class FlatShape(ErrorShape):
    """The general form, with the code and the message at the top too, where the replaced services had them."""

    code: str
    message: str


class FlatErrors(Dialect):
    """Errors with ``code`` and ``message`` at the top."""

    def told(self, error: ApiError) -> Response:
        """The answer for an error."""
        body = FlatShape(error=error.error, code=error.error.code, message=error.error.message)
        return JSONResponse(body.model_dump(mode="json"), status_code=error.status, headers=error.headers)
