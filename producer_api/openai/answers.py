"""The shapes of OpenAI's Images API: what is answered at the end, and the events of a stream."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Mapping
from typing import Literal

from fastapi import Response
from pydantic import BaseModel

from producer_api.answers import Task
from producer_api.errors import ApiError
from producer_api.inlining import filled, is_there
from producer_api.openai.body import ImagesBody, Quality
from producer_api.pictures import picture_bytes
from producer_api.services import Services
from schemas.errors import Code, ErrorBody, ErrorType
from schemas.outputs import Output
from schemas.previews import GenerationPreview

__all__ = ["Completed", "ImagesAnswer", "Partial", "answer_of", "completed", "partial_of"]

Route = Literal["image_generation", "image_edit"]


class Picture(BaseModel):
    """One of the two, as ``response_format`` says."""

    b64_json: str | None = None
    url: str | None = None


class InputDetails(BaseModel):
    """Nothing is charged for what goes in."""

    image_tokens: int = 0
    text_tokens: int = 0


class Usage(BaseModel):
    """What was charged. A token is a milli-unit here: 1,000 are one step of one 1024x1024 picture."""

    input_tokens: int = 0
    input_tokens_details: InputDetails = InputDetails()
    output_tokens: int
    total_tokens: int


class _Made(BaseModel):
    background: Literal["opaque"] = "opaque"
    output_format: str
    quality: Quality
    size: str


class ImagesAnswer(_Made):
    """The answer to a request that was waited for. ``created`` in seconds since 1970."""

    created: int
    data: list[Picture]
    usage: Usage


class Partial(_Made):
    """How the first picture looks so far: small, and a jpeg whatever the format of the end."""

    type: str
    partial_image_index: int
    b64_json: str
    created_at: int


class Completed(_Made):
    """A picture is done; there is one such event for each."""

    type: str
    b64_json: str
    created_at: int
    usage: Usage


async def answer_of(services: Services, body: ImagesBody, task: Task, headers: Mapping[str, str]) -> Response:
    """The pictures of a request that has them, as links or whole. Raises ``TransportError``."""
    outputs = task.outputs or []
    marks: dict[str, Output] = {}
    if body.response_format == "b64_json":
        for output in outputs:
            await _require(services, output)
            marks[secrets.token_hex(16)] = output
    pictures = [Picture(b64_json=mark) for mark in marks] or [Picture(url=output.url) for output in outputs]
    answer = ImagesAnswer(
        created=int(time.time()),
        data=pictures,
        output_format=_format(outputs[0]),
        quality=body.tier,
        size=f"{outputs[0].width}x{outputs[0].height}",
        usage=_usage(task.cost_milliunits or 0),
    )
    return filled(services, answer.model_dump_json(exclude_none=True), marks, status=200, headers=headers)


async def completed(services: Services, body: ImagesBody, route: Route, task: Task, index: int) -> Completed:
    """The event of one picture: the cost is divided among them, to the milli-unit. Raises ``TransportError``."""
    outputs = task.outputs or []
    output = outputs[index]
    return Completed(
        type=f"{route}.completed",
        b64_json=base64.b64encode(await picture_bytes(services, output)).decode(),
        created_at=int(time.time()),
        output_format=_format(output),
        quality=body.tier,
        size=f"{output.width}x{output.height}",
        usage=_usage(_share(task.cost_milliunits or 0, len(outputs), index)),
    )


def partial_of(body: ImagesBody, route: Route, preview: GenerationPreview, index: int) -> Partial:
    """The event of a preview."""
    return Partial(
        type=f"{route}.partial_image",
        partial_image_index=index,
        b64_json=preview.image_base64,
        created_at=int(time.time()),
        output_format=preview.media_type.removeprefix("image/"),
        quality=body.tier,
        size=body.size,
    )


async def _require(services: Services, output: Output) -> None:
    if not await is_there(services, output):
        error = ErrorBody(
            message="the picture is no longer in the store", type=ErrorType.NOT_FOUND, code=Code.NOT_FOUND
        )
        raise ApiError(error, status=410)


def _format(output: Output) -> str:
    return output.media_type.removeprefix("image/")


def _usage(milliunits: int) -> Usage:
    return Usage(output_tokens=milliunits, total_tokens=milliunits)


def _share(whole: int, parts: int, index: int) -> int:
    share, rest = divmod(whole, parts)
    return share + (index < rest)
