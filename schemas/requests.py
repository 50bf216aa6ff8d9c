"""What a tenant asks for, and what it comes to once the model's defaults are filled in."""

from __future__ import annotations

import math
from datetime import datetime
from fractions import Fraction
from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from schemas.errors import Code, EaselError
from schemas.outputs import ImageFormat
from schemas.webhooks import RequestWebhook

__all__ = [
    "MAX_REQUEST_BYTES",
    "MAX_SEED",
    "Adapter",
    "CancelRequest",
    "DeleteRequest",
    "GenerationRequest",
    "Kind",
    "Name",
    "Parameters",
    "Priority",
    "Prompt",
    "RequestFields",
    "invalid_request",
    "kind_of",
    "read_request",
    "read_wish",
]

MAX_REQUEST_BYTES = 256 * 1024
MAX_SEED = 2**53 - 1
"""The largest integer that every JSON reader keeps exactly."""

Priority = Literal["low", "normal", "high"]
Kind = Literal["text_to_image", "image_to_image", "inpainting"]
"""What a picture is made from: text alone; a source too; a source of which a mask says what is to be made anew."""
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
Prompt = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2_000)]
ObjectKey = Annotated[str, StringConstraints(min_length=1, max_length=512)]
_RequestId = Annotated[
    str, StringConstraints(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
]
_MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64)]
_MetadataValue = Annotated[str, StringConstraints(max_length=512)]


class Adapter(BaseModel):
    """A LoRA and its weight."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    name: Name
    scale: Annotated[float, Field(ge=-4.0, le=4.0)] = 1.0


class RequestFields(BaseModel):
    """What a tenant may say about the pictures it wants, in whatever form it asks for them."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    prompt: Prompt | None = None
    model: Name
    negative_prompt: Annotated[str, StringConstraints(strip_whitespace=True, max_length=2_000)] | None = None
    images: Annotated[int, Field(ge=1, le=10)] = 1
    width: Annotated[int, Field(ge=16, le=8_192)] | None = None
    height: Annotated[int, Field(ge=16, le=8_192)] | None = None
    steps: Annotated[int, Field(ge=1, le=200)] | None = None
    guidance: Annotated[float, Field(ge=0.0, le=50.0)] | None = None
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    """Of the first picture; the next ones count up from it. Drawn and recorded when absent."""
    style: Name | None = None
    adapters: Annotated[list[Adapter], Field(max_length=8)] = Field(default_factory=list)
    source_image: ObjectKey | None = None
    """The key of a picture of the tenant's own, which becomes another. It is scaled, and cut around its middle, to the
    size that is asked for."""
    strength: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """How far from the source: the share of the steps that run."""
    mask_image: ObjectKey | None = None
    """The key of a picture that is white where the source is to be made anew; what is black stays as it is."""
    format: ImageFormat = "png"
    quality: Annotated[int, Field(ge=1, le=100)] = 95
    priority: Priority = "normal"
    deadline: AwareDatetime | None = None
    previews: bool = False
    """Small pictures of how far it is, among the progress events, where the model's entry allows them."""
    metadata: Annotated[dict[_MetadataKey, _MetadataValue], Field(max_length=16)] = Field(default_factory=dict)
    """Returned untouched in the terminal event: a CMS's post id."""
    group: Name | None = None
    """A name of the tenant's own for what belongs together: ``accepted`` carries it, so that it can be asked for."""
    webhook: RequestWebhook | None = None
    """Where what becomes of it is posted too, if the tenant's requests may name a URL."""
    dry_run: bool = False
    """Only asks what it would cost, and whether and when it would be accepted: nothing is held, no id is bound."""

    @field_validator("prompt", "negative_prompt", "metadata")
    @classmethod
    def _no_nul(cls, given: str | dict[str, str] | None) -> str | dict[str, str] | None:
        # Valid JSON, but neither PostgreSQL nor a picture's text chunk can hold it: readers of results would stumble.
        texts = (*given, *given.values()) if isinstance(given, dict) else (given or "",)
        if any("\0" in text for text in texts):
            raise ValueError("holds the character U+0000")
        return given


class GenerationRequest(RequestFields):
    """The data of ``easel.generation.requested.v1``: a user's input, so an unknown field is refused by its name."""

    TYPE: ClassVar[str] = "easel.generation.requested.v1"

    prompt: Prompt


class CancelRequest(BaseModel):
    """The data of ``easel.generation.cancel_requested.v1``: its event has an id of its own and names a request."""

    TYPE: ClassVar[str] = "easel.generation.cancel_requested.v1"
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    request_id: _RequestId


class DeleteRequest(BaseModel):
    """The data of ``easel.generation.delete_requested.v1``: the pictures of a request that has ended are to go."""

    TYPE: ClassVar[str] = "easel.generation.delete_requested.v1"
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    request_id: _RequestId


class Parameters(BaseModel):
    """A request with nothing left open: the same parameters and weights make the same pictures."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    model: str
    prompt: str
    negative_prompt: str | None = None
    images: int
    width: int
    height: int
    steps: int
    guidance: float
    seed: int
    adapters: list[Adapter] = Field(default_factory=list)
    source_image: str | None = None
    strength: float | None = None
    mask_image: str | None = None
    format: ImageFormat = "png"
    quality: int = 95
    priority: Priority = "normal"
    deadline: datetime | None = None
    previews: bool = False

    @property
    def kind(self) -> Kind:
        return kind_of(self)

    @property
    def denoising_steps(self) -> int:
        """The steps that run: all of them, or with a source ``ceil(steps x strength)``, the last ones."""
        # By the decimal digits that were given: in binary, 0.7 of 10 would be 8.
        return self.steps if self.strength is None else math.ceil(self.steps * Fraction(str(self.strength)))

    def seeds(self) -> list[int]:
        """The seed of each picture."""
        return [(self.seed + index) % (MAX_SEED + 1) for index in range(self.images)]


def kind_of(request: GenerationRequest | Parameters) -> Kind:
    """What it asks to be made from."""
    if request.mask_image is not None:
        return "inpainting"
    return "text_to_image" if request.source_image is None else "image_to_image"


def read_request(body: bytes) -> GenerationRequest:
    """The request in an event's data. Raises as ``read_wish`` does."""
    return read_wish(body, GenerationRequest)


_Wish = TypeVar("_Wish", bound=BaseModel)


def read_wish(body: bytes, kind: type[_Wish]) -> _Wish:
    """What an event's data asks for. Raises ``EaselError(invalid_request)``, whose ``param`` is the field at fault."""
    if len(body) > MAX_REQUEST_BYTES:
        raise EaselError(Code.INVALID_REQUEST, f"the request is larger than {MAX_REQUEST_BYTES} bytes")
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise invalid_request(error) from None


def invalid_request(error: ValidationError) -> EaselError:
    """The first thing that is wrong with a request, by field; the input itself is not repeated."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    param = ".".join(str(part) for part in first["loc"])[:200] or None
    if first["type"] == "extra_forbidden":
        return EaselError(Code.INVALID_REQUEST, f"the field {param!r} is not known: leave it out", param=param)
    more = error.error_count() - 1
    others = f" (and {more} more)" if more else ""
    where = f"{param}: " if param else ""
    return EaselError(Code.INVALID_REQUEST, f"{where}{first['msg']}{others}", param=param)
