"""What a caller of the SDK says, as the typed requests that it means."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict, TypeVar

from pydantic import ValidationError

from producer_api.sdk.exceptions import RequestRejected
from schemas.errors import Code, EaselError
from schemas.outputs import ImageFormat
from schemas.requests import Adapter, CancelRequest, DeleteRequest, GenerationRequest, Priority, invalid_request

__all__ = ["RequestOptions", "naming", "request_of"]

_Naming = TypeVar("_Naming", CancelRequest, DeleteRequest)


class RequestOptions(TypedDict, total=False):
    """What may be left to the model's defaults; limits and meanings are those of ``GenerationRequest``."""

    negative_prompt: str | None
    images: int
    width: int | None
    height: int | None
    steps: int | None
    guidance: float | None
    seed: int | None
    style: str | None
    adapters: list[Adapter]
    source_image: str | None
    strength: float | None
    mask_image: str | None
    format: ImageFormat
    quality: int
    priority: Priority
    deadline: datetime | None
    previews: bool
    metadata: dict[str, str]


def request_of(prompt: str, model: str, options: RequestOptions, request_id: str | None) -> GenerationRequest:
    """The request that they describe. Raises ``RequestRejected``."""
    try:
        return GenerationRequest(prompt=prompt, model=model, **options)
    except ValidationError as error:
        raise RequestRejected(invalid_request(error).body(), request_id=request_id) from None


def naming(kind: type[_Naming], request_id: str) -> _Naming:
    """A request of ``kind`` about another one. Raises ``RequestRejected`` for what can't be an id."""
    try:
        return kind(request_id=request_id)
    except ValidationError:
        error = EaselError(Code.ID_INVALID, f"{request_id[:64]!r} is not the id of a request", param="request_id")
        raise RequestRejected(error.body()) from None
