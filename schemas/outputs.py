"""Where pictures lie in the store, and the manifest that says which of them count.

Keys hold the hash of what they name: two attempts at one request never overwrite each other's pictures, and the
terminal event says which ones were delivered. The manifest is written last: one that is there means that the work is
done.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal

from pydantic import BaseModel, Field

from schemas.ids import DAY_MS, time_of

__all__ = [
    "MEDIA_TYPES",
    "ImageFormat",
    "Manifest",
    "Output",
    "manifest_key",
    "output_key",
    "request_prefix",
    "tenant_prefix",
]

ImageFormat = Literal["png", "jpeg", "webp"]
MEDIA_TYPES: dict[ImageFormat, str] = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


class Output(BaseModel):
    """One picture: where it lies, what it is, and the seed that makes it again."""

    index: int
    key: str
    sha256: str
    bytes: int
    media_type: str
    width: int
    height: int
    seed: int
    flagged: bool = False
    """The image check found in it what it looks for; what the model's policy lets through is for people to review."""
    blurred: bool = False
    """What is stored is a blur of it."""


class Manifest(BaseModel):
    """What a finished job made. A worker that finds one reports its outcome from it, without the GPU."""

    tenant: str
    request_id: str
    attempt: int
    model: str
    weights_revision: str
    outputs: list[Output]
    asked: int
    """Pictures asked for; ``outputs`` may be fewer."""
    blocked: list[int] = Field(default_factory=list)
    """Pictures, by index, that the image check held back."""
    engine_ms: int
    parameters: dict[str, object]


def tenant_prefix(tenant: str) -> str:
    """Everything of a tenant lies under this prefix."""
    return f"outputs/{tenant}/"


def _folder(tenant: str, request_id: str) -> str:
    # The day is that of the id, so that a manifest is found from the id alone.
    return f"{tenant_prefix(tenant)}{_day(time_of(request_id) // DAY_MS)}/{request_id}"


@lru_cache(maxsize=64)
def _day(number: int) -> str:
    return f"{datetime.fromtimestamp(number * DAY_MS / 1000, tz=UTC):%Y/%m/%d}"


def output_key(
    tenant: str,
    request_id: str,
    index: int,
    sha256: str,
    format: ImageFormat,  # noqa: A002 - the request's word
) -> str:
    """The key of a picture with this content."""
    extension = "jpg" if format == "jpeg" else format
    return f"{_folder(tenant, request_id)}/{index}-{sha256[:16]}.{extension}"


def request_prefix(tenant: str, request_id: str) -> str:
    """Everything of a request lies under this prefix."""
    return f"{_folder(tenant, request_id)}/"


def manifest_key(tenant: str, request_id: str) -> str:
    """The key of a request's manifest."""
    return f"{_folder(tenant, request_id)}/manifest.json"
