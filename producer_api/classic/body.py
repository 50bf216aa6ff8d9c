"""The fields of ``POST /api/v1/generate``, and the request that they come to."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from schemas.errors import Code, EaselError
from schemas.outputs import ImageFormat
from schemas.requests import GenerationRequest, Name, Priority, Prompt, invalid_request

__all__ = ["OTHER_NAMES", "ClassicBody", "read_classic_body"]

OTHER_NAMES = {
    "images": "num_images",
    "guidance": "cfg_scale",
    "style": "style_preset",
    "format": "output_format",
}
"""Fields of a request, and what they are called here. The others have the names that they have everywhere."""

_AGAIN = {"num_inference_steps": "steps", "guidance_scale": "cfg_scale"}
"""Second names of fields here."""
_ANY_SEED = -1
_NO_STYLE = ("", "none")


class ClassicBody(BaseModel):
    """What is posted. A field that has no meaning here is refused by its name, never passed over."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: Prompt
    model: Name | None = None
    negative_prompt: str | None = None
    num_images: Annotated[int, Field(ge=1, le=10)] = 1
    width: int | None = None
    height: int | None = None
    steps: Annotated[int | None, Field(validation_alias=AliasChoices("steps", "num_inference_steps"))] = None
    cfg_scale: Annotated[float | None, Field(validation_alias=AliasChoices("cfg_scale", "guidance_scale"))] = None
    seed: Annotated[int, Field(ge=_ANY_SEED)] = _ANY_SEED
    style_preset: str | None = None
    output_format: ImageFormat | Literal["jpg"] = "png"
    quality: int | None = None
    priority: Priority | None = None
    metadata: dict[str, str] | None = None

    def to_request(self, model: str) -> GenerationRequest:
        """What is signed and published. Raises ``EaselError(invalid_request)``, whose ``param`` is the name here."""
        given = {name: getattr(self, OTHER_NAMES.get(name, name), None) for name in GenerationRequest.model_fields}
        given |= {
            "model": model,
            "seed": None if self.seed == _ANY_SEED else self.seed,
            "style": None if (self.style_preset or "").lower() in _NO_STYLE else self.style_preset,
            "format": "jpeg" if self.output_format == "jpg" else self.output_format,
        }
        try:
            return GenerationRequest.model_validate({name: one for name, one in given.items() if one is not None})
        except ValidationError as error:
            raise _in_their_names(invalid_request(error)) from None


def read_classic_body(given: dict[str, Any]) -> ClassicBody:
    """A body as it was sent; what is null in it was left open. Raises ``EaselError(invalid_request)``."""
    for second, first in _AGAIN.items():
        if given.get(first) is not None and given.get(second) is not None and given[first] != given[second]:
            raise EaselError(Code.INVALID_REQUEST, f"{second}: differs from {first}: give one of them", param=second)
    try:
        return ClassicBody.model_validate({name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise invalid_request(error) from None


def _in_their_names(error: EaselError) -> EaselError:
    name = OTHER_NAMES.get(error.param or "", error.param)
    message = error.message if name is None else error.message.replace(f"{error.param}:", f"{name}:", 1)
    return EaselError(error.code, message, param=name, type=error.type)
