"""The body of ``POST /v1/generate``: the fields of a request, and what only the HTTP answer is about."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from schemas.errors import Code, EaselError
from schemas.requests import GenerationRequest, Prompt, RequestFields, invalid_request

__all__ = ["MAX_PROMPTS", "GenerateBody", "ResponseFormat", "read_body"]

MAX_PROMPTS = 32
ResponseFormat = Literal["url", "b64_json"]

Given = Annotated[str, StringConstraints(min_length=1)]
_OF_HTTP = frozenset({"prompts", "response_format"})
"""The fields that are not the request's."""
_PROMPTS = "prompts"


class GenerateBody(RequestFields):
    """What is posted: one ``prompt``; or ``prompts``, which makes a task of each and a group of them all."""

    prompts: Annotated[list[Prompt], Field(min_length=1, max_length=MAX_PROMPTS)] | None = None
    source_image: Given | None = None
    """The key of a picture of the tenant's own, `data:image/png;base64,…`, or an `https` URL where that is allowed."""
    mask_image: Given | None = None
    """The same of a picture that is white where the source is to be made anew."""
    response_format: ResponseFormat = "url"
    """How pictures stand in an answer that has any: as links, or whole, in base64."""

    @model_validator(mode="after")
    def _one_kind_of_prompt(self) -> GenerateBody:
        if (self.prompt is None) == (self.prompts is None):
            raise PydanticCustomError(_PROMPTS, "give either prompt or prompts")
        if self.dry_run and self.prompts is not None:
            raise PydanticCustomError(_PROMPTS, "a dry run takes one prompt")
        return self

    def to_request(self, prompt: str | None = None) -> GenerationRequest:
        """What is signed and published; ``prompt`` is one of ``prompts``, where those were given.

        Raises as ``read_body`` does.
        """
        fields: dict[str, Any] = {name: getattr(self, name) for name in self.model_fields_set - _OF_HTTP}
        try:
            return GenerationRequest.model_validate(fields | {"prompt": prompt or self.prompt})
        except ValidationError as error:
            raise invalid_request(error) from None


def read_body(body: bytes) -> GenerateBody:
    """Raises ``EaselError(invalid_request)``, whose ``param`` is the field at fault."""
    try:
        return GenerateBody.model_validate_json(body)
    except ValidationError as error:
        (first, *_) = error.errors(include_url=False, include_context=False, include_input=False)
        if first["type"] == _PROMPTS:
            raise EaselError(Code.INVALID_REQUEST, f"prompt: {first['msg']}", param="prompt") from None
        raise invalid_request(error) from None
