"""The body of ``POST /v1/generate``: the fields of a request, and what only the HTTP answer is about."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import StringConstraints, ValidationError

from schemas.requests import GenerationRequest, Prompt, RequestFields, invalid_request

__all__ = ["GenerateBody", "ResponseFormat", "read_body"]

ResponseFormat = Literal["url", "b64_json"]

Given = Annotated[str, StringConstraints(min_length=1)]
_OF_HTTP = frozenset({"response_format"})
"""The fields that are not the request's."""


class GenerateBody(RequestFields):
    """What is posted."""

    prompt: Prompt
    source_image: Given | None = None
    """The key of a picture of the tenant's own, `data:image/png;base64,…`, or an `https` URL where that is allowed."""
    mask_image: Given | None = None
    """The same of a picture that is white where the source is to be made anew."""
    response_format: ResponseFormat = "url"
    """How pictures stand in an answer that has any: as links, or whole, in base64."""

    def to_request(self) -> GenerationRequest:
        """What is signed and published. Raises as ``read_body`` does."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in self.model_fields_set - _OF_HTTP}
        try:
            return GenerationRequest.model_validate(fields)
        except ValidationError as error:
            raise invalid_request(error) from None


def read_body(body: bytes) -> GenerateBody:
    """Raises ``EaselError(invalid_request)``, whose ``param`` is the field at fault."""
    try:
        return GenerateBody.model_validate_json(body)
    except ValidationError as error:
        raise invalid_request(error) from None
