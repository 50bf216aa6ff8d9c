"""Bodies and headers that nobody would send by mistake, made from a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

__all__ = ["Sent", "hostile_requests"]


class Sent(NamedTuple):
    """A request as it goes over the wire."""

    route: str
    raw: bytes


_VALID: dict[str, Any] = {
    "prompt": "a red circle",
    "model": "nothing",
    "negative_prompt": "text",
    "images": 1,
    "width": 64,
    "height": 64,
    "steps": 4,
    "guidance": 2.0,
    "seed": 7,
    "style": "x",
    "adapters": [{"name": "a", "scale": 1.0}],
    "source_image": "sources/acme/x.png",
    "strength": 0.5,
    "mask_image": "data:image/png;base64,AAAA",
    "format": "png",
    "quality": 90,
    "priority": "low",
    "deadline": "2030-01-01T00:00:00Z",
    "metadata": {"post": "1"},
    "dry_run": True,
    "prompts": ["a", "b"],
    "response_format": "url",
    "webhook": "https://example.org/hook",
    "n": 1,
    "size": "64x64",
    "background": "auto",
    "output_format": "png",
    "output_compression": 50,
    "stream": False,
    "partial_images": 1,
    "user": "u",
    "num_images": 1,
    "cfg_scale": 7.0,
    "style_preset": "x",
    "username": "u",
    "password": "p",
    "refresh_token": "r",
}
_NASTY: tuple[str, ...] = (
    *("null", "true", "0", "-1", "1.5", "-0.0", "1e308", "1e400", "-1e400", "NaN", "Infinity", "-Infinity"),
    *("2147483648", "9223372036854775808", "1" + "0" * 400, "1" + "0" * 5000, "1e-400", "0x10", "01", "1_000"),
    *('""', '" "', '"\\u0000"', '"\\ud800"', '"\\udfff\\ud800"', '"\\uFFFE"', '"\u202eabc"', '"🎨"', '"\\n\\r\\t"'),
    *('"' + "x" * 2001 + '"', '"' + "字" * 2000 + '"', '"' + "e\u0301" * 900 + '"', '"1"', '"../../etc/passwd"'),
    *("[]", "{}", "[[]]", "[null]", '{"": ""}', '{"a": {"b": {"c": []}}}', "[" + "0," * 5000 + "0]"),
    *("[" * 200 + "]" * 200, '{"a":' * 200 + "1" + "}" * 200, "[" * 20_000, '{"__proto__": 1, "constructor": 1}'),
    *(
        '"data:image/png;base64,%%%%"',
        '"data:text/html,<script>"',
        '"https://169.254.169.254/"',
        '"file:///etc/passwd"',
    ),
    *(
        '"9999-99-99T99:99:99Z"',
        '"0001-01-01T00:00:00Z"',
        '"2030-01-01T00:00:00+99:99"',
        '"%s%n{0}"',
        "'x'",
        "undefined",
    ),
)
_WHOLE: tuple[bytes, ...] = (
    *(b"", b" ", b"null", b"[]", b'"x"', b"1", b"{", b"}", b"{]", b"\x00", b"\xff\xfe{\x00}\x00", b"\xef\xbb\xbf{}"),
    *(b"{}{}", b'{"prompt"}', b'{"prompt":}', b'{"prompt": "a"', b"\xc3\x28", b'{"\xff": 1}', b"// x\n{}", b"{}\x00"),
    *(b"[" * 100_000, b'{"a":' * 50_000, b'{"prompt": "' + b"x" * 300_000 + b'"}', b"prompt=a&model=b", b"a=%zz&=&&="),
)
_TYPES = (
    *("application/json", "application/json; charset=utf-16", "text/plain", "application/xml", "", ";", "a/b/c", "*/*"),
    *("application/x-www-form-urlencoded", "application/octet-stream", "image/png", "multipart/form-data"),
    *('multipart/form-data; boundary="', "multipart/form-data; boundary=" + "b" * 300, "APPLICATION/JSON;;=;"),
)
_HEADERS: dict[str, tuple[bytes, ...]] = {
    "Easel-Request-Id": (b"", b"x", b"0198c0de-0000-7000-8000-000000000000", b"\xff\xfe", b"0" * 500),
    "Idempotency-Key": (b"", b"k", b"\xe5\xad\x97", b'"quoted"', b"k" * 256, b"k" * 9000, b"a b"),
    "Prefer": (
        b"",
        b"wait",
        b"wait=0",
        b"wait=-1",
        b"wait=1e9",
        b"wait=99999999999999999999",
        b"respond-async, wait=x",
        b"=;=",
    ),
    "traceparent": (b"", b"00-0-0-0", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-00", b"\x80"),
    "X-Request-Id": (b"", b"a\tb", b"\xff", b"r" * 1000),
    "Range": (b"bytes=0-", b"bytes=-1", b"bytes=9-1", b"bytes=0-1,2-3", b"items=1", b"bytes=" + b"9" * 400 + b"-"),
    "Last-Event-ID": (b"", b"-1", b"x", b"9" * 400),
    "Accept": (b"", b"text/event-stream", b";;q=x"),
    "Content-Encoding": (b"gzip", b"br", b"x"),
    "Expect": (b"100-continue", b"x"),
    "Cookie": (b"a=" + b"x" * 9000,),
}
_IDS = ("x", "%00", "..%2f..", "0198c0de-0000-7000-8000-000000000000", "%F0%9F%8E%A8", "-1", "9" * 64, "%ff%fe")
_QUERIES = ("a=1", "limit=x&limit=y", "cursor=%00", "state=" + "x" * 2000, "%ff=%ff", "=&=", "metadata.=x")
_DISPOSITIONS = (b'"file"', b'"image"', b'"image[]"', b"", b'"\xff"')
_NAMES = (b'; filename="x.png"', b'; filename="../../x"', b"; filename*=utf-8''%ff", b"")
_PART_HEADERS = (b"Content-Type: image/png", b"Content-Type: x", b"Content-Transfer-Encoding: base64", b"X: y")
_FORMS = ("multipart/form-data; boundary=b", "multipart/form-data; boundary=c", "multipart/form-data")


def hostile_requests(routes: list[tuple[str, str]], number: int, *, seed: int, key: str) -> Iterator[Sent]:
    """``number`` requests over these (method, path template)s in turn; the same for the same seed."""
    dice = random.Random(seed)
    for index in range(number):
        method, path = routes[index % len(routes)]
        body, content_type = _body(dice)
        url = path
        while "{" in url:
            before, _, rest = url.partition("{")
            url = before + dice.choice(_IDS) + rest.partition("}")[2]
        if dice.random() < 0.1:
            url += "?" + dice.choice(_QUERIES)
        heads = [f"{method} {url} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n".encode()]
        if content_type:
            heads.append(f"Content-Type: {content_type}\r\n".encode())
        names = dice.sample(sorted(_HEADERS), dice.choice((0, 0, 0, 1, 2)))
        heads += [name.encode() + b": " + dice.choice(_HEADERS[name]) + b"\r\n" for name in names]
        heads.append(b"Content-Length: %d\r\n\r\n" % len(body))
        yield Sent(f"{method} {path}", b"".join(heads) + body)


def _body(dice: random.Random) -> tuple[bytes, str]:
    kind = dice.random()
    if kind < 0.65:
        return _json(dice), "application/json"
    if kind < 0.75:
        return dice.choice(_WHOLE), dice.choice(("application/json", dice.choice(_TYPES)))
    if kind < 0.85:
        return _multipart(dice)
    if kind < 0.92:
        fields = dice.sample(sorted(_VALID), 4)
        return "&".join(f"{name}={dice.choice(('a', '%00', '%ff', '1', ''))}" for name in fields).encode(), _TYPES[8]
    return dice.randbytes(dice.choice((1, 10, 1000, 70_000))), dice.choice(_TYPES)


def _json(dice: random.Random) -> bytes:
    """A request of a few fields, one or two of which are nasty; sometimes cut, doubled or with bytes changed."""
    fields = {name: json.dumps(_VALID[name]) for name in dice.sample(sorted(_VALID), dice.randrange(5))}
    fields |= {name: json.dumps(_VALID[name]) for name in ("prompt", "model") if dice.random() < 0.9}
    for name in dice.sample(sorted(_VALID), dice.choice((1, 1, 2))):
        fields[name] = dice.choice(_NASTY)
    if dice.random() < 0.05:
        fields[dice.choice(("", "x" * 300, "\\ud800", "字", "prompt "))] = "1"
    text = "{" + ", ".join(f'"{name}": {value}' for name, value in fields.items()) + "}"
    if dice.random() < 0.05:
        text = text[:-1] + ', "prompt": "again"}'
    raw = bytearray(text.encode("utf-8", "surrogatepass"))
    if dice.random() < 0.15:
        del raw[dice.randrange(len(raw)) :]
    elif dice.random() < 0.15:
        raw[dice.randrange(len(raw))] = dice.randrange(256)
    return bytes(raw)


def _multipart(dice: random.Random) -> tuple[bytes, str]:
    parts = [
        b"--b\r\nContent-Disposition: form-data; name=%s%s\r\n%s\r\n\r\n%s\r\n"
        % (
            dice.choice(_DISPOSITIONS),
            dice.choice(_NAMES),
            dice.choice(_PART_HEADERS),
            dice.randbytes(dice.choice((0, 8, 3000))),
        )
        for _ in range(dice.choice((0, 1, 2, 3, 300)))
    ]
    return b"".join(parts) + dice.choice((b"--b--\r\n", b"--b", b"", b"\r\n--b--")), dice.choice(_FORMS)
