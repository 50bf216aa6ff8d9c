"""JSON Schemas of the events' data, with what the code says of each field."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from schemas.asyncapi.codes import IN_DEAD_LETTERS, ON_RESULTS

__all__ = ["REFERENCE", "schemas_of", "standalone"]

REFERENCE = "#/components/schemas/{model}"

_DIALECT = "http://json-schema.org/draft-07/schema#"

_EVERYWHERE = {
    "adapters": "LoRAs that the model's entry lists, with their weights.",
    "attempt": "Which try at the request this is about; 1 is the first, 0 none at all.",
    "blocked": "Pictures, by index, that the image check held back.",
    "bytes": "Its size in the store.",
    "cached": "Answered from an earlier result of the same tenant.",
    "cancel_id": "The ce_id of the cancel that this answers.",
    "cause": "Why it could not be processed.",
    "code": "For programs. Codes are only added: take one that you don't know as it comes.",
    "cost_milliunits": "What it costs, in milli-units: 1,000 are one step of one 1024x1024 picture.",
    "deadline": "A time with an offset; a request that still waits then ends failed, refunded.",
    "delete_id": "The ce_id of the delete that this answers.",
    "engine_ms": "How long the engine worked on it, in ms.",
    "error": "Why, in the one error shape.",
    "format": "Of the pictures.",
    "guidance": "How closely the prompt is followed; within the model's limits.",
    "height": "In pixels; within the model's limits.",
    "held": "In milli-units: everything that was set aside in the period.",
    "images": "How many pictures.",
    "index": "Which of the request's pictures, from 0.",
    "key": "Where it lies in the bucket.",
    "key_base64": "The record's key.",
    "limit": "How much is allowed.",
    "manifest": "The key of the manifest, which tells all of this again.",
    "mask_image": "The key of a picture that is white where the source is to be made anew.",
    "media_type": "Of the picture.",
    "message": "For people: what is wrong, and what to do.",
    "group": "Of the request: a name of yours for what belongs together.",
    "metadata": "Short strings of yours, returned untouched.",
    "milliunits": "How much moved; 1,000 are one step of one 1024x1024 picture.",
    "model": "A name in the installation's catalogue.",
    "month": "The account of the month after this entry.",
    "day": "The account of the day after this entry.",
    "name": "Its name.",
    "negative_prompt": "What is not wanted in the picture.",
    "objects": "How many objects of the store are gone.",
    "offset": "Of the record.",
    "outputs": "The pictures that count. Others may lie beside them in the store.",
    "outstanding": "In milli-units: what is set aside now, for what has not ended.",
    "param": "The field or header at fault.",
    "partial": "Fewer pictures than were asked for.",
    "partition": "Of the record.",
    "position": "Requests of its tenant that were waiting before it.",
    "priority": "Inside the tenant; between tenants their weights decide.",
    "prompt": "What is wanted in the picture; trimmed.",
    "quality": "Of jpeg and webp.",
    "refunded": "In milli-units: what was given back in the period.",
    "refunded_milliunits": "What was held and is given back, in milli-units.",
    "remaining": "How much of it is left.",
    "request_id": "The request that this is about.",
    "retry_after_s": "When to come back, in seconds, where waiting helps.",
    "scale": "Its weight.",
    "seed": "What makes the same picture again.",
    "settled": "In milli-units: what was charged in the period.",
    "sha256": "Of the content, in lower-case hex.",
    "stage": "Which part of easel met it.",
    "state": "Where the request stands.",
    "step": "How many steps are done.",
    "steps": "How many steps there are.",
    "strength": "How far from the source: the share of the steps that run.",
    "style": "One of the model's styles.",
    "tenant": "Whose request it is.",
    "topic": "Where the record lay.",
    "truncated": "Whether something of the record was cut.",
    "value_bytes": "The size of the value.",
    "value_sha256": "Of the whole value, in lower-case hex.",
    "appended_ms": "When the broker received it, in ms since 1970.",
    "image_base64": "The picture.",
    "waited_ms": "How long it waited before a worker had it, in ms.",
    "weights_revision": "Which weights of the model made it.",
    "width": "In pixels; within the model's limits.",
}
"""What a field means wherever it stands without a word of its own in the code."""


class _Plain(GenerateJsonSchema):
    """Without the titles that repeat the fields' names, and with docstrings as people wrote them."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - the library's signature
        return False

    def tuple_schema(self, schema: core_schema.TupleSchema) -> dict[str, Any]:
        # Draft 7, which AsyncAPI builds on, spells the items of a tuple otherwise than later drafts.
        made = super().tuple_schema(schema)
        if "prefixItems" in made:
            made["items"] = made.pop("prefixItems")
        return made


def schemas_of(shapes: tuple[type[BaseModel], ...], reference: str = REFERENCE) -> dict[str, Any]:
    """Name → JSON Schema of these shapes and of everything that they are made of, sorted by name."""
    found: dict[str, Any] = {}
    for shape in shapes:
        schema = shape.model_json_schema(ref_template=reference, schema_generator=_Plain)
        parts = schema.pop("$defs", {})
        found |= {name: part for name, part in parts.items() if name not in found}
        found[shape.__name__] = schema
    classes = {kind.__name__: kind for shape in shapes for kind in _made_of(shape)}
    if "Code" in found:
        # HTTP has codes of its own, which no event carries.
        found["Code"]["enum"] = [code.value for code in {**ON_RESULTS, **IN_DEAD_LETTERS}]
    for name, schema in found.items():
        kind = classes.get(name)
        _tell(schema, _docs(kind) if kind else {})
    return dict(sorted(found.items()))


def standalone(shape: type[BaseModel], event_type: str) -> dict[str, Any]:
    """The JSON Schema of one event's data, in one piece."""
    parts = schemas_of((shape,), "#/definitions/{model}")
    own = parts.pop(shape.__name__)
    return {"$schema": _DIALECT, **own, "title": event_type, **({"definitions": parts} if parts else {})}


def _tell(schema: dict[str, Any], docs: dict[str, str]) -> None:
    """Put words on a schema and its fields."""
    if "description" in schema:
        schema["description"] = _words(schema["description"])
    for name, field in schema.get("properties", {}).items():
        words = docs.get(name) or _EVERYWHERE.get(name)
        if words:
            field["description"] = _words(words)


def _words(docstring: str) -> str:
    text = re.sub(r"``([^`]*)``", r"`\1`", inspect.cleandoc(docstring))
    return re.sub(r"\s*\n\s*", " ", text).strip()


def _made_of(shape: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield shape
    for field in shape.model_fields.values():
        for kind in _kinds_in(field):
            yield from _made_of(kind)


def _kinds_in(field: FieldInfo) -> Iterator[type[BaseModel]]:
    pending: list[Any] = [field.annotation]
    while pending:
        one = pending.pop()
        pending += getattr(one, "__args__", ())
        if inspect.isclass(one) and not hasattr(one, "__args__") and issubclass(one, BaseModel):
            yield one


@cache
def _docs(shape: type[BaseModel]) -> dict[str, str]:
    """The docstrings under the fields of a class and of those that it comes from."""
    found: dict[str, str] = {}
    for kind in reversed(shape.__mro__):
        if not issubclass(kind, BaseModel) or kind is BaseModel:
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
        assert isinstance(body, ast.ClassDef)  # noqa: S101 - the source of a class
        for statement, after in zip(body.body, body.body[1:], strict=False):
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                match after:
                    case ast.Expr(value=ast.Constant(value=str(text))):
                        found[statement.target.id] = text
    return found
