"""Pieces that hostile events are made of: texts, numbers, names and JSON that a reader may stumble over."""

from __future__ import annotations

import json
import random
import time

__all__ = ["NASTY", "PATHS", "Draws", "uuid7"]

PATHS = (
    "../../../etc/passwd",
    "..\\..\\windows",
    "/etc/shadow",
    "outputs/acme/2025/11/21/x/0-0.png",
    "outputs/mallory/../acme/x.png",
    "sources/mallory/../acme/" + "0" * 64 + ".png",
    "sources/mallory/%2e%2e/acme.png",
    "file:///etc/passwd",
    "http://169.254.169.254/latest/meta-data",
    "s3://easel/outputs",
    "C:\\con",
    ".",
    "~root",
    "a/../b",
    "a//b",
    "a\x00.png",
    "\u2025/\u2025/etc",
    "__proto__",
    "__offsets",
    "__init",
    "{{7*7}}",
    "'; DROP TABLE tasks; --",
    "${jndi:ldap://x}",
    "%s%n%x",
)
NASTY = (
    "",
    " ",
    "\x00",
    "\ufeff",
    "\u202e evil \u202c",
    "\u2066\u2067\u2068\u2069",
    "\u200b\u200d\u2060",
    "\ud800",
    "\udfff\ud800",
    "\uffff\ufffe",
    "\U0010ffff",
    "a" + "\u0301" * 500,
    "\x1b[2J\x1b]0;owned\x07",
    "\r\nce_id: forged",
    "\u0130I\u0131i\u00df\ufb03",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467" * 50,
    "\ufdfd" * 300,
    "0",
    "null",
    "NaN",
    "true",
)
_NUMBERS = (
    b"0",
    b"-0",
    b"-1",
    b"1e400",
    b"-1e400",
    b"1e-400",
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"9007199254740993",
    b"18446744073709551616",
    b"1" + b"0" * 400,
    b"9" * 5_000,
    b"0." + b"3" * 2_000,
    b"1.0000000000000000000001",
    b"01",
    b"+1",
    b".5",
    b"1.",
    b"0x10",
    b"1_000",
    "١٢٣".encode(),
    b"1e99999999999",
)


class Draws:
    """Draws from a seed. Texts are Python's, lone surrogates and all; ``encoded`` brings them onto the wire."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - a schedule, not a secret

    def noise(self, most: int) -> bytes:
        return self.chance.randbytes(self.chance.randrange(most + 1))

    def size(self) -> int:
        """Mostly small, sometimes at or around a limit."""
        return self.chance.choice((0, 1, 7, 64, 64, 255, 256, 1_000, 2_000, 2_001, 8_191, 8_193, 40_000))

    def text(self) -> str:
        """Something that a reader may not expect."""
        one = self.chance.choice((*NASTY, *PATHS))
        if self.chance.random() < 0.2:
            one *= 1 + self.size() // max(1, len(one))
        return one

    def letters(self, most: int = 40) -> str:
        return "".join(self.chance.choices("abcdefghijklmnopqrstuvwxyz0123456789._-/", k=self.chance.randint(1, most)))

    def encoded(self, text: str) -> bytes:
        """In UTF-8, with surrogates as the three bytes that UTF-8 forbids; sometimes in another encoding."""
        if self.chance.random() < 0.05:
            return text.encode(self.chance.choice(("utf-16", "utf-32", "utf-7")), "surrogatepass")
        return text.encode("utf-8", "surrogatepass")

    def number(self) -> bytes:
        """A number, or what some parsers take for one, as it stands in JSON."""
        return self.chance.choice(_NUMBERS)

    def quoted(self, text: str) -> bytes:
        """A JSON string: escaped, or with the characters as they are."""
        plain = self.chance.random() < 0.5
        return json.dumps(text, ensure_ascii=not plain).encode("utf-8", "surrogatepass")

    def value(self, depth: int = 3) -> bytes:
        """Any JSON value, valid or nearly."""
        kind = self.chance.randrange(9 if depth else 6)
        if kind < 2:
            return self.number()
        if kind < 4:
            return self.quoted(self.text())
        if kind == 4:
            return self.chance.choice((b"null", b"true", b"false", b"undefined", b"", b"'x'", b'"', b'"\\ud800"'))
        if kind == 5:
            return self.chance.choice((b"[]", b"{}", b'[""]', b'{"":""}', b'{"__proto__":{"x":1}}', b"[[[[]]]]"))
        parts = [self.value(depth - 1) for _ in range(self.chance.randrange(5))]
        if kind == 6:
            return b"[" + b",".join(parts) + b"]"
        return b"{" + b",".join(self.quoted(self.text()) + b":" + part for part in parts) + b"}"

    def deep(self) -> bytes:
        """Nested as deep as a value may be large."""
        levels = self.chance.choice((50, 200, 1_000, 10_000, 60_000))
        opening, closing, middle = self.chance.choice(
            (
                (b"[", b"]", b""),
                (b'{"a":', b"}", b"1"),
                (b'[{"a":', b"}]", b"null"),
                (b"[", b"", b""),
                (b'{"a":', b"", b""),
            )
        )
        levels = min(levels, 250_000 // (len(opening) + len(closing)))
        return opening * levels + middle + closing * levels


def uuid7(chance: random.Random, at_ms: int | None = None) -> str:
    """A UUIDv7 of a moment, of now when none is given, by these draws."""
    at_ms = time.time_ns() // 1_000_000 if at_ms is None else at_ms
    tail = f"{chance.getrandbits(12):03x}", f"{0x8000 | chance.getrandbits(14):04x}", f"{chance.getrandbits(48):012x}"
    head = f"{at_ms & (1 << 48) - 1:012x}"
    return f"{head[:8]}-{head[8:]}-7{tail[0]}-{tail[1]}-{tail[2]}"
