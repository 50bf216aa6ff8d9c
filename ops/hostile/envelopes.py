"""Events that no tenant stands behind: their headers or their signature are hostile. Each must be a dead letter."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from ops.hostile.bodies import request
from ops.hostile.draws import PATHS, Draws, uuid7
from ops.hostile.signed import Forger, Raw
from schemas.requests import GenerationRequest

__all__ = ["UNSIGNED"]

Make = Callable[[Draws, Forger], Raw]


def _right(draws: Draws, forger: Forger, kind: str) -> Raw:
    return forger.event(draws, kind, request("nothing"), fate="dead")


def _garbage(draws: Draws, _: Forger) -> Raw:
    names = [draws.noise(60) for _ in range(draws.chance.randrange(8))]
    headers = [(name, draws.chance.choice((None, draws.noise(400)))) for name in names]
    return Raw("garbage", "dead", draws.chance.choice((None, draws.noise(200))), draws.noise(3_000), headers)


def _nothing(draws: Draws, _: Forger) -> Raw:
    return Raw("nothing", "dead", draws.chance.choice((None, b"", b"acme")), draws.chance.choice((None, b"")))


def _null_value(draws: Draws, forger: Forger) -> Raw:
    raw = _right(draws, forger, "null_value")
    raw.value = None
    return raw


def _twice(draws: Draws, forger: Forger) -> Raw:
    """One header stands twice, the same or otherwise; in any order."""
    raw = _right(draws, forger, "twice")
    name, value = draws.chance.choice(raw.headers)
    raw.headers.append((name, draws.chance.choice((value, b"x", None))))
    draws.chance.shuffle(raw.headers)
    return raw


def _missing(draws: Draws, forger: Forger) -> Raw:
    raw = _right(draws, forger, "missing")
    raw.headers.pop(draws.chance.randrange(len(raw.headers)))
    return raw


def _header_value(draws: Draws, forger: Forger) -> Raw:
    """One header is empty, null, too long, no UTF-8, or holds control characters."""
    raw = _right(draws, forger, "header_value")
    place = draws.chance.randrange(len(raw.headers))
    hostile = (b"", None, b"\xff\xfe", b"\xc3(", b"x\x00y", b"\x1b[2J", "\x85".encode(), b"x" * 8_193, b"x" * 200_000)
    raw.headers[place] = (raw.headers[place][0], draws.chance.choice(hostile))
    if raw.headers[place][0] in (b"ce_source", b"ce_type", b"ce_id"):
        # Short and printable, these are only other names; then the signature doesn't hold, or nobody cares.
        raw.fate = "either"
    return raw


def _header_name(draws: Draws, forger: Forger) -> Raw:
    """A header of CloudEvents' prefix whose name is none of its names."""
    prefixed = (b"", b"\xff\xfe", b"UPPER", b"a" * 21, b"a b", b"a\x00", "\u202e".encode(), b"-")
    raw = _right(draws, forger, "header_name")
    raw.headers.insert(draws.chance.randrange(len(raw.headers)), (b"ce_" + draws.chance.choice(prefixed), b"x"))
    return raw


def _many_headers(draws: Draws, forger: Forger) -> Raw:
    """Thousands of headers, without which it would be a request like any other."""
    raw = _right(draws, forger, "many_headers")
    raw.fate = "answered"
    count = draws.chance.choice((100, 5_000, 20_000))
    raw.headers[:0] = [(draws.chance.choice((b"", b"x", b"\xff", b"CE_id")), b"") for _ in range(count)]
    return raw


def _envelope(draws: Draws, forger: Forger) -> Raw:
    """An attribute that CloudEvents or easel does not take."""
    raw = _right(draws, forger, "envelope")
    attributes = dict(raw.headers)
    name, value = draws.chance.choice(
        (
            (b"ce_specversion", b"0.3"),
            (b"ce_specversion", b"2.0"),
            (b"ce_specversion", b"1.0 "),
            (b"content-type", b"application/cloudevents+json"),
            (b"content-type", b"text/html"),
            (b"content-type", b"application/json" + b" " * 9_000),
            (b"ce_time", b"yesterday"),
            (b"ce_time", b"2025-02-30T00:00:00Z"),
            (b"ce_time", b"2025-01-01T00:00:00"),
            (b"ce_time", b"99999-01-01T00:00:00Z"),
            (b"ce_time", b"1e400"),
        )
    )
    attributes[name] = value
    raw.headers = list(attributes.items())
    return raw


def _event_id(draws: Draws, forger: Forger) -> Raw:
    """A signed id that is no UUIDv7: a path, an upper-case one, a version 4."""
    name = uuid7(draws.chance)
    hostile = (name.upper(), name.replace("-", ""), "{" + name + "}", name[:14] + "4" + name[15:], name + "\u200b")
    chosen = draws.chance.choice((*hostile, *(path for path in PATHS if "\x00" not in path)))
    return forger.event(draws, "event_id", request("nothing"), fate="dead", event_id=chosen)


def _claims(draws: Draws, forger: Forger) -> Raw:
    """One claim is wrong, absent or of another kind."""
    chance = draws.chance
    name = chance.choice(("iss", "sub", "aud", "type", "iat", "exp", "jti", "body_sha256", "idempotencykey"))
    hostile: tuple[Any, ...] = (
        ...,
        None,
        "",
        0,
        -1,
        1e308,
        2**70,
        True,
        [],
        {},
        ["easel", "easel"],
        {"a": 1},
        "../x",
        "\u202e",
        "x" * 5_000,
    )
    value = chance.choice(hostile)
    if name == "idempotencykey" and value in (..., None):
        value = "order-1"
    return forger.event(draws, "claims", request("nothing"), fate="dead", claims={name: value})


def _token_header(draws: Draws, forger: Forger) -> Raw:
    """The token's header asks for something else."""
    chance = draws.chance
    name, value = chance.choice(
        (
            ("alg", chance.choice(("none", "HS512", "EdDSA", "RS256", "", None, ["HS256"], ...))),
            ("typ", chance.choice(("JWT", "", None, ...))),
            ("kid", chance.choice((None, "", "nobody", "../../key", ["a"], {"a": 1}, "x" * 500, "acme-1", ...))),
            ("crit", ["exp"]),
            ("b64", False),
        )
    )
    return forger.event(draws, "token_header", request("nothing"), fate="dead", header={name: value})


def _token(draws: Draws, forger: Forger) -> Raw:
    """No token at all, one cut short, one whose parts are not what they should be, validly sealed."""
    chance = draws.chance
    raw = _right(draws, forger, "token")
    right = dict(raw.headers)[b"ce_signature"] or b""
    header = json.dumps({"alg": "HS256", "typ": "easel-request+jwt", "kid": forger.kid}).encode()
    deep = b'{"a":' * 1_000 + b"1" + b"}" * 1_000
    tokens: tuple[Callable[[], bytes], ...] = (
        lambda: right[: chance.randrange(1, len(right))],
        lambda: right + b"=",
        lambda: right + b".x",
        lambda: right.replace(b".", b"..", 1),
        lambda: right[:-4] + b"AAAA",
        lambda: b"Bearer " + right,
        lambda: b"." * 8_000,
        lambda: base64.b64encode(draws.noise(600)) or b"x",
        lambda: forger.sealed(header, draws.value()).encode(),
        lambda: forger.sealed(header, deep).encode(),
        lambda: forger.sealed(deep, b"{}").encode(),
        lambda: forger.sealed(header, b'{"iat":' + draws.number() + b"}").encode(),
        lambda: forger.sealed(header[:-1] + b',"x":' + draws.value() + b"}", b"{}").encode(),
    )
    token = chance.choice(tokens)()
    raw.headers = [(name, token if name == b"ce_signature" else value) for name, value in raw.headers]
    return raw


def _numbers_in_claims(draws: Draws, forger: Forger) -> Raw:
    """Times that JSON can spell and clocks can't tell, in a token that is sealed rightly."""
    body, own = request("nothing"), uuid7(draws.chance)
    whole = forger.event(draws, "numbers", body, fate="dead", event_id=own, claims={"iat": "I", "exp": "E"})
    token = dict(whole.headers)[b"ce_signature"] or b""
    header, claims, _ = token.split(b".")
    text = base64.urlsafe_b64decode(claims + b"==")
    text = text.replace(b'"I"', draws.number()).replace(b'"E"', draws.number())
    sealed = forger.sealed(base64.urlsafe_b64decode(header + b"=="), text)
    return Raw("numbers", "dead", whole.key, body, forger.headers(own, GenerationRequest.TYPE, sealed))


def _other_body(draws: Draws, forger: Forger) -> Raw:
    raw = _right(draws, forger, "other_body")
    raw.value = draws.chance.choice((b"", b"{}", (raw.value or b"") + b" ", b"x" * 300_000, b"\x00" * 700_000))
    return raw


UNSIGNED: dict[Make, int] = {
    _garbage: 20,
    _nothing: 5,
    _null_value: 5,
    _twice: 10,
    _missing: 5,
    _header_value: 5,
    _header_name: 10,
    _many_headers: 1,
    _envelope: 10,
    _event_id: 10,
    _claims: 20,
    _token_header: 10,
    _token: 20,
    _numbers_in_claims: 10,
    _other_body: 2,
}
"""With how often each is drawn: the large ones seldom."""
