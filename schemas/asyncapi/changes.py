"""Two versions of the contract beside each other: what would break a publisher or a reader of the earlier one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from schemas.asyncapi.narrowing import differences

__all__ = ["Change", "breaking"]

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """Something that somebody may rely on and that is not so any more."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def breaking(old: Document, new: Document) -> list[Change]:
    """Every change that breaks, by the rules of docs/compatibility.md; additions are none.

    What others write may only be asked for less strictly, what they read only be told more strictly: a field of a
    request may not become required or take fewer values, one of an event may not become optional or take more.
    """
    return [*_channels(old, new), *_messages(old, new), *_codes(old, new), *_signature(old, new)]


def _channels(old: Document, new: Document) -> Iterator[Change]:
    for name, before in old["channels"].items():
        after = new["channels"].get(name)
        where = f"channel {before['address']}"
        if after is None:
            yield Change(where, "is gone")
            continue
        if after["address"] != before["address"]:
            yield Change(where, f"has another address, {after['address']}")
        for message in before["messages"]:
            if message not in after["messages"]:
                yield Change(where, f"{message} is not on it any more")
        for setting, least in _kept(before).items():
            if (now := _kept(after).get(setting)) is not None and now < least:
                yield Change(where, f"{setting} has become smaller, {now} instead of {least}")
    for name, before in old["operations"].items():
        after = new["operations"].get(name)
        if after is not None and after["action"] != before["action"]:
            yield Change(f"operation {name}", f"is {after['action']} and not {before['action']} any more")


def _kept(channel: Document) -> dict[str, int]:
    settings = channel.get("bindings", {}).get("kafka", {}).get("topicConfiguration", {})
    return {name: value for name, value in settings.items() if isinstance(value, int)}


def _messages(old: Document, new: Document) -> Iterator[Change]:
    read_by_us = _taken(old)
    messages = new["components"]["messages"]
    for name, before in old["components"]["messages"].items():
        after = messages.get(name)
        if after is None:
            yield Change(name, "is gone")
            continue
        narrowing_breaks = name in read_by_us
        sides = (
            ("the key", before["bindings"]["kafka"]["key"], after["bindings"]["kafka"]["key"]),
            ("the header", before["headers"], after["headers"]),
            ("the field", before["payload"], after["payload"]),
        )
        for side, one, other in sides:
            for found in differences(one, other, old, new):
                if found.narrower if narrowing_breaks else found.wider:
                    yield Change(name, f"{side}{f' {found.path}' if found.path else ''} {found.what}")
        if before.get("correlationId") != after.get("correlationId"):
            yield Change(name, "another header says which request it is about")
        if before.get("x-terminal") != after.get("x-terminal"):
            yield Change(name, "ends a request, or does not any more")


def _taken(document: Document) -> set[str]:
    """The types that others write."""
    names = {
        operation["channel"]["$ref"].rsplit("/", 1)[1]
        for operation in document["operations"].values()
        if operation["action"] == "receive"
    }
    return {message for name in names for message in document["channels"][name]["messages"]}


def _codes(old: Document, new: Document) -> Iterator[Change]:
    for where, codes in old["x-error-codes"].items():
        for code in codes:
            if code not in new["x-error-codes"].get(where, {}):
                yield Change(f"error codes in {where}", f"{code} is gone")


def _signature(old: Document, new: Document) -> Iterator[Change]:
    for name, before in old["operations"].items():
        after = new["operations"].get(name, {})
        if "x-signature" not in before:
            continue
        one, other = before["x-signature"], after.get("x-signature", {})
        for algorithm in one["algorithms"]:
            if algorithm not in other.get("algorithms", ()):
                yield Change("the signature", f"{algorithm} is not taken any more")
        for part in ("header", "typ"):
            if one[part] != other.get(part):
                yield Change("the signature", f"its {part} is {other.get(part)!r} and not {one[part]!r} any more")
        for found in differences(one["claims"], other.get("claims", {}), old, new):
            if found.narrower:
                yield Change("the signature", f"the claim {found.path} {found.what}")
