"""Signed events whose data, id or type is hostile: each must be answered, for its tenant is known."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from ops.hostile.draws import PATHS, Draws, uuid7
from ops.hostile.signed import Forger, Raw
from schemas.requests import MAX_REQUEST_BYTES, CancelRequest, DeleteRequest, GenerationRequest

__all__ = ["SIGNED", "request"]

Make = Callable[[Draws, Forger], Raw]

_FIELDS = tuple(GenerationRequest.model_fields)


def request(model: str, **more: Any) -> bytes:
    """The data of an ordinary request."""
    return json.dumps({"prompt": "a red circle", "model": model, **more}).encode()


def _not_json(draws: Draws, forger: Forger) -> Raw:
    body = draws.chance.choice((draws.noise(2_000), draws.value(), b"", b"\xef\xbb\xbf{}", b"{}{}", b"null", b'{"a"'))
    return forger.event(draws, "not_json", body)


def _deep(draws: Draws, forger: Forger) -> Raw:
    field = draws.quoted(draws.chance.choice(_FIELDS))
    body = draws.chance.choice((draws.deep(), b'{"prompt":"x","model":"m",' + field + b":" + draws.deep() + b"}"))
    return forger.event(draws, "deep", body)


def _field(draws: Draws, forger: Forger) -> Raw:
    """One field is something else: a number that is none, a wrong type, a hostile text."""
    fields = {b'"prompt"': b'"a red circle"', b'"model"': b'"nothing"'}
    for _ in range(draws.chance.randint(1, 3)):
        fields[draws.quoted(draws.chance.choice(_FIELDS))] = draws.value()
    parts = [name + b":" + value for name, value in fields.items()]
    if draws.chance.random() < 0.1:
        parts.append(draws.chance.choice(parts))
    return forger.event(draws, "field", b"{" + b",".join(parts) + b"}")


def _texts(draws: Draws, forger: Forger) -> Raw:
    """Right types, hostile texts: some of these are requests like any other."""
    body = {
        "prompt": "x" + draws.text(),
        "model": draws.chance.choice(("nothing", "nothing", draws.text())),
        "negative_prompt": draws.text(),
        "metadata": {draws.text(): draws.text() for _ in range(draws.chance.randrange(18))},
    }
    if draws.chance.random() < 0.3:
        body["source_image"] = draws.chance.choice(PATHS)
    if draws.chance.random() < 0.2:
        body["style"] = draws.text()
    return forger.event(draws, "texts", draws.encoded(json.dumps(body, ensure_ascii=draws.chance.random() < 0.5)))


def _many(draws: Draws, forger: Forger) -> Raw:
    """Very many of something, under the limit of size."""
    count = draws.chance.choice((17, 1_000, 10_000))
    name, content = draws.chance.choice(
        (
            ("metadata", {str(number): "" for number in range(count)}),
            ("adapters", [{"name": "a", "scale": 1.0}] * count),
            ("adapters", [[]] * count),
            ("prompt", "😀" * count),
            ("x" * count, 1),
        )
    )
    return forger.event(draws, "many", request("nothing", **{name: content}))


def _unknown_fields(draws: Draws, forger: Forger) -> Raw:
    return forger.event(
        draws, "unknown_fields", request("nothing", **{f"f{number}": number for number in range(5_000)})
    )


def _edge(draws: Draws, forger: Forger) -> Raw:
    """At the limit of size, just under and just over it."""
    size = MAX_REQUEST_BYTES + draws.chance.choice((-1, 0, 1, 100_000))
    body = request("nothing")
    return forger.event(draws, "edge", body[:-1] + b" " * (size - len(body)) + b"}")


def _extreme(draws: Draws, forger: Forger) -> Raw:
    """Values at and beyond what a field may be, and times at the ends of the calendar."""
    chance = draws.chance
    name, value = chance.choice(
        (
            ("seed", chance.choice((-1, 0, 2**53 - 1, 2**53, 2**64))),
            ("images", chance.choice((0, 10, 11, 2**31))),
            ("width", chance.choice((0, 15, 64, 8_193, -64, 2**63))),
            ("steps", chance.choice((0, 200, 201))),
            ("guidance", chance.choice((-0.0, 50.0, 50.0000001, 1e308))),
            ("quality", chance.choice((0, 100, 101))),
            ("strength", chance.choice((0.0, 5e-324, 1.0, 1.0000001))),
            ("deadline", chance.choice(("0001-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "1e400", "2025-02-30"))),
            ("deadline", "2999-01-01T00:00:00+00:00"),
        )
    )
    return forger.event(draws, "extreme", request("nothing", **{name: value}))


def _future_type(draws: Draws, forger: Forger) -> Raw:
    kinds = ("easel.generation.requested.v2", "easel.generation.requested.v999999", "easel.generation.requested")
    kind = draws.chance.choice((*kinds, "easel.job.assigned.v1", "easel.usage.held.v1", "com.example." + "x" * 4_000))
    return forger.event(draws, "future_type", request("nothing"), event_type=kind)


def _out_of_time(draws: Draws, forger: Forger) -> Raw:
    at_ms = draws.chance.choice((0, 1, 946_684_800_000, 4_102_444_800_000, (1 << 48) - 1))
    return forger.event(draws, "out_of_time", request("nothing"), event_id=uuid7(draws.chance, at_ms))


def _wish(draws: Draws, forger: Forger) -> Raw:
    """A cancel or delete of something that is no id, is nobody's, or is written otherwise."""
    kind = draws.chance.choice((CancelRequest.TYPE, DeleteRequest.TYPE))
    other = uuid7(draws.chance)
    about = draws.chance.choice((other, other.upper(), "{" + other + "}", draws.text(), draws.chance.choice(PATHS)))
    body = draws.chance.choice(
        (draws.encoded(json.dumps({"request_id": about})), b'{"request_id":' + draws.value() + b"}", request("nothing"))
    )
    return forger.event(draws, "wish", body, event_type=kind)


def _key(draws: Draws, forger: Forger) -> Raw:
    """An idempotency key, signed, that not every system could carry."""
    key = draws.chance.choice(("k" * 255, "k" * 256, "ключ", "a b", "order-1", "../x"))
    return forger.event(
        draws,
        "idempotency_key",
        request("nothing"),
        claims={"idempotencykey": key},
        more=[(b"ce_idempotencykey", key.encode())],
    )


def _repeated(draws: Draws, forger: Forger) -> Raw:
    """One of a few ids, each time with another body."""
    of_this_hour = uuid7(draws.chance, int(time.time() // 3600) * 3_600_000)
    known = f"{of_this_hour[:14]}7000-8000-{draws.chance.randrange(5):012x}"
    return forger.event(draws, "repeated", request("nothing", images=draws.chance.randint(1, 12)), event_id=known)


SIGNED: dict[Make, int] = {
    _not_json: 10,
    _deep: 2,
    _field: 30,
    _texts: 20,
    _many: 2,
    _unknown_fields: 1,
    _edge: 1,
    _extreme: 10,
    _future_type: 5,
    _out_of_time: 5,
    _wish: 10,
    _key: 5,
    _repeated: 5,
}
"""With how often each is drawn: the large ones seldom."""
