"""What a client of OpenAI asks, and the request that it comes to here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import ceil
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from producer_api.openai.models import Chosen
from schemas.catalog import ModelCard
from schemas.errors import Code, EaselError
from schemas.outputs import ImageFormat
from schemas.requests import Adapter, GenerationRequest, Name, Priority, Prompt, invalid_request

__all__ = ["EditBody", "ImagesBody", "Quality", "read_images_body"]

Quality = Literal["low", "medium", "high"]
_QUALITIES: dict[str, Quality] = {
    "low": "low",
    "auto": "medium",
    "standard": "medium",
    "medium": "medium",
    "high": "high",
    "hd": "high",
    "xhigh": "high",
    "max": "high",
}
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")
_User = Annotated[str, StringConstraints(max_length=512)]


class ImagesBody(BaseModel):
    """The fields of ``/v1/images/generations``; those from ``negative_prompt`` on are easel's own.

    What is not served here is refused by its name: a client that asks for a transparent background must not get
    another one without a word.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: Prompt
    model: Name | None = None
    n: Annotated[int, Field(ge=1, le=10)] = 1
    size: Annotated[str, StringConstraints(pattern=r"^(auto|\d{1,5}x\d{1,5})$")] = "auto"
    quality: Literal["auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"] = "auto"
    output_format: ImageFormat = "png"
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = None
    response_format: Literal["url", "b64_json"] = "b64_json"
    background: Literal["auto", "opaque"] = "auto"
    moderation: Literal["auto"] = "auto"
    style: Name | None = None
    user: _User | None = None
    safety_identifier: _User | None = None
    stream: bool = False
    partial_images: Annotated[int, Field(ge=0, le=3)] = 0

    negative_prompt: str | None = None
    seed: int | None = None
    steps: int | None = None
    guidance: float | None = None
    adapters: list[Adapter] | None = None
    priority: Priority | None = None
    metadata: dict[str, str] | None = None

    @property
    def tier(self) -> Quality:
        """One of the three qualities that there are here."""
        return _QUALITIES[self.quality]

    def to_request(
        self, chosen: Chosen, *, size: tuple[int, int] | None = None, **sources: str | None
    ) -> GenerationRequest:
        """What is signed and published; ``size`` is that of ``auto``, the model's own when absent.

        ``sources``: the request's fields that name pictures, by their keys.

        Raises ``EaselError(invalid_request)``.
        """
        compression = self.output_compression
        if compression is not None and self.output_format == "png":
            if compression != 100:
                raise _wrong("output_compression", "is for jpeg and webp: a png loses nothing")
            compression = None
        if found := _SIZE.fullmatch(self.size):
            size = int(found[1]), int(found[2])
        fields: dict[str, Any] = {
            "prompt": self.prompt,
            "model": chosen.name,
            "images": self.n,
            "width": None if size is None else size[0],
            "height": None if size is None else size[1],
            "steps": _steps(self.tier, chosen.card) if self.steps is None else self.steps,
            "style": self.style,
            "format": self.output_format,
            # Theirs goes from 0.
            "quality": None if compression is None else max(1, compression),
            "previews": (self.stream and self.partial_images > 0) or None,
            "metadata": self._metadata(),
            **{name: getattr(self, name) for name in ("negative_prompt", "seed", "guidance", "adapters", "priority")},
            **self.more(),
            **sources,
        }
        try:
            return GenerationRequest.model_validate(
                {name: value for name, value in fields.items() if value is not None}
            )
        except ValidationError as error:
            raise invalid_request(error) from None

    def more(self) -> dict[str, Any]:
        """Fields of the request that only some routes have."""
        return {}

    def _metadata(self) -> dict[str, str] | None:
        said = self.safety_identifier or self.user
        return {**(self.metadata or {}), "user": said} if said else self.metadata


class EditBody(ImagesBody):
    """The fields of ``/v1/images/edits``, without its files."""

    input_fidelity: Literal["low"] = "low"
    strength: float | None = None
    """How far from the picture that was given: easel's own."""

    def more(self) -> dict[str, Any]:
        """Fields of the request that only some routes have."""
        return {"strength": self.strength}


_Body = TypeVar("_Body", bound=ImagesBody)


def read_images_body(given: Mapping[str, Any], shape: type[_Body]) -> _Body:
    """A body as it was sent; what is null in it was left open. Raises ``EaselError(invalid_request)``."""
    try:
        return shape.model_validate({name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise invalid_request(error) from None


def _steps(tier: Quality, card: ModelCard) -> int | None:
    """Half the model's own steps, or twice as many, as far as it goes."""
    match tier:
        case "low":
            return ceil(card.defaults.steps / 2)
        case "high":
            return min(2 * card.defaults.steps, card.limits.steps)
    return None


def _wrong(param: str, message: str) -> EaselError:
    return EaselError(Code.INVALID_REQUEST, f"{param}: {message}", param=param)
