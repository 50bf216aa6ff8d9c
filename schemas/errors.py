"""The one error shape, and every code that can stand in it.

Events, HTTP answers, dead letters and the command line all say ``{"error": {"message", "type", "param", "code"}}``:
what is wrong and what to do, the kind, the field at fault, and a code that programs may rely on.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, Field

__all__ = ["Code", "EaselError", "ErrorBody", "ErrorShape", "ErrorType"]


class ErrorType(StrEnum):
    """Whose move it is."""

    INVALID_REQUEST = "invalid_request_error"
    AUTHENTICATION = "authentication_error"
    PERMISSION = "permission_error"
    RATE_LIMIT = "rate_limit_error"
    QUOTA = "insufficient_quota"
    NOT_FOUND = "not_found_error"
    SERVER = "server_error"


class Code(StrEnum):
    """Every reason for a refusal or a failure. Codes are only added; one that is published keeps its meaning."""

    ENVELOPE_INVALID = "envelope_invalid"
    RECORD_TOO_LARGE = "record_too_large"
    SIGNATURE_MISSING = "signature_missing"
    SIGNATURE_MALFORMED = "signature_malformed"
    SIGNATURE_INVALID = "signature_invalid"
    KEY_UNKNOWN = "key_unknown"
    ALGORITHM_MISMATCH = "algorithm_mismatch"
    CLAIMS_INVALID = "claims_invalid"
    BODY_MISMATCH = "body_mismatch"
    TOKEN_EXPIRED = "token_expired"  # noqa: S105 - the name of a refusal
    TOKEN_NOT_YET_VALID = "token_not_yet_valid"  # noqa: S105 - the same
    TOKEN_LIFETIME = "token_lifetime"  # noqa: S105 - the same
    TENANT_NOT_ALLOWED = "tenant_not_allowed"

    INVALID_REQUEST = "invalid_request"
    UNSUPPORTED_TYPE = "unsupported_type"
    ID_INVALID = "id_invalid"
    ID_OUT_OF_TIME = "id_out_of_time"
    ID_CONFLICT = "id_conflict"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    TENANT_SUSPENDED = "tenant_suspended"
    MODEL_NOT_FOUND = "model_not_found"
    MODEL_NOT_ALLOWED = "model_not_allowed"
    PRIORITY_NOT_ALLOWED = "priority_not_allowed"
    LIMIT_EXCEEDED = "limit_exceeded"
    PROMPT_BLOCKED = "prompt_blocked"
    SOURCE_NOT_ALLOWED = "source_not_allowed"
    WEBHOOK_NOT_ALLOWED = "webhook_not_allowed"
    RATE_LIMITED = "rate_limited"
    BUDGET_DAY_EXCEEDED = "budget_day_exceeded"
    BUDGET_MONTH_EXCEEDED = "budget_month_exceeded"
    QUEUE_FULL = "queue_full"

    ALREADY_ENDED = "already_ended"
    NOT_ENDED = "not_ended"
    CANCELED = "canceled"

    SOURCE_NOT_FOUND = "source_not_found"
    SOURCE_INVALID = "source_invalid"
    CONTENT_BLOCKED = "content_blocked"
    GENERATION_FAILED = "generation_failed"
    MODEL_UNAVAILABLE = "model_unavailable"
    OUT_OF_MEMORY = "out_of_memory"
    ENGINE_LOST = "engine_lost"
    POISON = "poison"
    STORE_FAILED = "store_failed"
    DEADLINE_EXCEEDED = "deadline_exceeded"

    WEBHOOK_UNDELIVERABLE = "webhook_undeliverable"
    WEBHOOK_GONE = "webhook_gone"

    API_KEY_INVALID = "api_key_invalid"
    LOGIN_INVALID = "login_invalid"
    NOT_FOUND = "not_found"
    SERVICE_UNAVAILABLE = "service_unavailable"
    INTERNAL_ERROR = "internal_error"


class ErrorBody(BaseModel):
    """What is wrong, in words for people (``message``) and for programs (the rest)."""

    message: str
    type: Annotated[ErrorType | str, Field(union_mode="left_to_right")]
    """Also a string: a reader of today must not stumble over a kind, or a code, that was added since."""
    param: str | None = None
    code: Annotated[Code | str, Field(union_mode="left_to_right")]


class ErrorShape(BaseModel):
    """``{"error": {...}}``, as every answer and event carries it."""

    error: ErrorBody


class EaselError(Exception):
    """A refusal that is anticipated, in the form in which it is told to the outside.

    ``message`` reaches tenants: it names their input and the remedy, never a secret or an inner detail.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        param: str | None = None,
        type: ErrorType = ErrorType.INVALID_REQUEST,  # noqa: A002 - the field's name in the error shape
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.type = type

    def body(self) -> ErrorBody:
        """The inner part of the error shape."""
        return ErrorBody(message=self.message, type=self.type, param=self.param, code=self.code)
