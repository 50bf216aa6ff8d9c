"""Errors and headers as clients of OpenAI read them: the shape is the same, some codes are not."""

from __future__ import annotations

import re
from math import ceil

from fastapi import Response
from fastapi.responses import JSONResponse

from producer_api.dialect import Dialect
from producer_api.errors import ApiError
from schemas.errors import Code, ErrorBody, ErrorShape

__all__ = ["THEIR_CODES", "OpenAIRoute", "in_their_words"]

THEIR_CODES: dict[str, str] = {
    Code.API_KEY_INVALID: "invalid_api_key",
    Code.RATE_LIMITED: "rate_limit_exceeded",
    Code.BUDGET_DAY_EXCEEDED: "insufficient_quota",
    Code.BUDGET_MONTH_EXCEEDED: "insufficient_quota",
    Code.PROMPT_BLOCKED: "moderation_blocked",
    Code.CONTENT_BLOCKED: "moderation_blocked",
}
"""Codes that programs look for, by ours. The others stay as they are."""

_LIMITS = {"requests_per_minute": "requests", "milliunits_per_day": "tokens"}
_QUOTA = re.compile(r'"(\w+)";q=(\d+)')
_LEFT = re.compile(r'"(\w+)";r=(\d+)(?:;t=(\d+))?')
_WORTH_ANOTHER_TRY = frozenset({Code.RATE_LIMITED, Code.QUEUE_FULL, Code.SERVICE_UNAVAILABLE})
_LONGEST_WAIT_S = 60


def in_their_words(error: ErrorBody) -> ErrorShape:
    """An error with the code that their clients know."""
    return ErrorShape(error=error.model_copy(update={"code": THEIR_CODES.get(error.code, error.code)}))


class OpenAIRoute(Dialect):
    """Their clients repeat by themselves what is answered 408, 409, 429 or 5xx, also where it makes no sense:
    ``x-should-retry`` tells them."""

    def told(self, error: ApiError) -> Response:
        """The answer for an error."""
        content = in_their_words(error.error).model_dump(mode="json")
        return JSONResponse(
            content, status_code=error.status, headers={"x-should-retry": str(_again(error)).lower()} | error.headers
        )

    def finished(self, response: Response, seconds: float) -> Response:
        """Every answer, with the time that it took, and the limits under their names."""
        response.headers["openai-processing-ms"] = str(ceil(seconds * 1000))
        whole = dict(_QUOTA.findall(response.headers.get("RateLimit-Policy", "")))
        for name, left, until_s in _LEFT.findall(response.headers.get("RateLimit", "")):
            if name in _LIMITS and name in whole:
                response.headers[f"x-ratelimit-limit-{_LIMITS[name]}"] = whole[name]
                response.headers[f"x-ratelimit-remaining-{_LIMITS[name]}"] = left
                if until_s:
                    response.headers[f"x-ratelimit-reset-{_LIMITS[name]}"] = f"{until_s}s"
        return response


def _again(error: ApiError) -> bool:
    wait = error.headers.get("Retry-After", "0")
    return error.error.code in _WORTH_ANOTHER_TRY and wait.isdecimal() and int(wait) <= _LONGEST_WAIT_S
