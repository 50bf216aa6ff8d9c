"""How two JSON Schemas differ: where the later one takes less than the earlier, and where more.

For the schemas that pydantic makes of our shapes: types, enumerations, bounds, objects, arrays and alternatives.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["Difference", "differences"]

Schema = dict[str, Any]

_AT_LEAST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_AT_MOST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")


@dataclass(frozen=True, slots=True)
class Difference:
    """At ``path`` the later schema refuses what the earlier took (``narrower``), or takes what it refused."""

    path: str
    what: str
    narrower: bool = False
    wider: bool = False


def differences(old: Schema, new: Schema, old_whole: Schema, new_whole: Schema) -> Iterator[Difference]:
    """Every one. The documents are those that references point into."""
    yield from _Comparison(old_whole, new_whole).schemas(old, new, "")


@dataclass(frozen=True, slots=True)
class _Comparison:
    old_whole: Schema
    new_whole: Schema

    def schemas(self, old: Schema, new: Schema, path: str) -> Iterator[Difference]:
        old, new = _resolved(old, self.old_whole), _resolved(new, self.new_whole)
        before, after = _alternatives(old), _alternatives(new)
        # Null, which an optional field takes too, says nothing about the others.
        if "null" in before and "null" not in after:
            yield Difference(path, "can't be null any more", narrower=True)
        if "null" in after and "null" not in before:
            yield Difference(path, "can now be null", wider=True)
        one = [alternative for kind, alternative in before.items() if kind != "null"]
        other = [alternative for kind, alternative in after.items() if kind != "null"]
        if len(one) == len(other):
            for first, second in zip(one, other, strict=True):
                yield from self._single(first, second, path)
        elif one != other:
            fewer = len(other) < len(one)
            what = "takes fewer kinds of values" if fewer else "takes more kinds of values"
            yield Difference(path, what, narrower=fewer, wider=not fewer)

    def _single(self, old: Schema, new: Schema, path: str) -> Iterator[Difference]:
        old, new = _resolved(old, self.old_whole), _resolved(new, self.new_whole)
        before, after = old.get("type"), new.get("type")
        if before != after:
            number = {before, after} == {"integer", "number"}
            yield Difference(
                path,
                f"is {after or 'anything'} and not {before or 'anything'} any more",
                narrower=after is not None and not (number and after == "number"),
                wider=before is not None and not (number and before == "number"),
            )
            return
        yield from self._values(old, new, path)
        yield from self._bounds(old, new, path)
        yield from self._fields(old, new, path)
        yield from self._parts(old, new, path)

    def _values(self, old: Schema, new: Schema, path: str) -> Iterator[Difference]:
        before, after = _values_of(old), _values_of(new)
        if before is None and after is None:
            return
        if after is None or (before is not None and after - before):
            yield Difference(path, f"takes more values: {_listed(after, before)}", wider=True)
        if before is None or (after is not None and before - after):
            yield Difference(path, f"takes fewer values: not {_listed(before, after)}", narrower=True)

    def _bounds(self, old: Schema, new: Schema, path: str) -> Iterator[Difference]:
        for name in (*_AT_LEAST, *_AT_MOST):
            before, after = old.get(name), new.get(name)
            if before == after:
                continue
            tighter = before is None or (after is not None and (after > before) == (name in _AT_LEAST))
            yield Difference(path, f"has {name} {after} and not {before}", narrower=tighter, wider=not tighter)
        for name in ("pattern", "format"):
            before, after = old.get(name), new.get(name)
            if before != after:
                # Which of two patterns takes more nobody can tell: each counts as both.
                yield Difference(
                    path,
                    f"has the {name} {after!r} and not {before!r}",
                    narrower=after is not None,
                    wider=before is not None,
                )

    def _fields(self, old: Schema, new: Schema, path: str) -> Iterator[Difference]:
        before, after = old.get("properties", {}), new.get("properties", {})
        closed = new.get("additionalProperties") is False
        for name, field in before.items():
            place = f"{path}.{name}" if path else name
            if name not in after:
                # Gone from what is read it is missed; from what is written, and refused there, likewise.
                yield Difference(place, "is gone", narrower=closed, wider=True)
                continue
            yield from self.schemas(field, after[name], place)
            was, now = name in old.get("required", ()), name in new.get("required", ())
            if now and not was:
                yield Difference(place, "has become required", narrower=True)
            if was and not now:
                yield Difference(place, "need not be there any more", wider=True)
        for name in new.get("required", ()):
            if name not in before:
                yield Difference(f"{path}.{name}" if path else name, "is new and required", narrower=True)
        if closed and old.get("additionalProperties") is not False and old.get("type") == "object":
            yield Difference(path, "takes no unknown fields any more", narrower=True)

    def _parts(self, old: Schema, new: Schema, path: str) -> Iterator[Difference]:
        for name, mark in (("items", "[]"), ("additionalProperties", "{}"), ("propertyNames", "{}")):
            before, after = old.get(name), new.get(name)
            if isinstance(before, dict) and isinstance(after, dict):
                yield from self.schemas(before, after, path + mark)
            elif isinstance(before, list) and isinstance(after, list):
                for number, (one, other) in enumerate(zip(before, after, strict=False)):
                    yield from self.schemas(one, other, f"{path}[{number}]")


def _resolved(schema: Schema, whole: Schema) -> Schema:
    while "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        schema = whole["components"]["schemas"][name]
    return schema


def _alternatives(schema: Schema) -> dict[str, Schema]:
    """Kind → schema of what may stand there. An open enumeration, with strings beside it, counts as strings: of its
    values more may come at any time, and those that must not go are held as error codes."""
    if "anyOf" not in schema:
        return {"only": schema}
    found: dict[str, Schema] = {}
    for number, one in enumerate(schema["anyOf"]):
        found["null" if one.get("type") == "null" else str(number)] = one
    if {"type": "string"} in found.values():
        return {"only": {"type": "string"}}
    return found


def _values_of(schema: Schema) -> set[str] | None:
    if "const" in schema:
        return {json.dumps(schema["const"])}
    return {json.dumps(value) for value in schema["enum"]} if "enum" in schema else None


def _listed(some: set[str] | None, others: set[str] | None) -> str:
    return "any" if some is None else ", ".join(sorted(some - (others or set())))
