"""A dead letter holds its record whole, and never more than its topic takes."""

from __future__ import annotations

import base64
import hashlib

import pytest

from consumer.dead_letters import dead_letter
from schemas.errors import Code, ErrorBody, ErrorType
from schemas.events import DeadLetter
from schemas.topics import Topics
from transport.records import Outgoing, Record

MIB = 1024 * 1024
CAUSE = ErrorBody(message="wrong", type=ErrorType.INVALID_REQUEST, code=Code.ENVELOPE_INVALID)
[SPEC] = [
    spec
    for spec in Topics().specs(partitions=1, jobs_partitions=1, replication=1, pools=["default"])
    if spec.name == Topics().dead_letters
]


def letter_of(
    *, key: bytes | None = b"acme", value: bytes | None = b"{}", headers: tuple[tuple[str, bytes | None], ...] = ()
) -> tuple[Outgoing, DeadLetter]:
    record = Record("easel.requests", 3, 42, 1_763_712_000_000, key, value, headers)
    out = dead_letter("easel.dead-letters", record, CAUSE, stage="admission", partition=3)
    assert out.value is not None
    return out, DeadLetter.model_validate_json(out.value)


def test_it_is_whole() -> None:
    value = bytes(range(256)) * 4096
    out, letter = letter_of(value=value, headers=(("ce_id", b"\xff\x00"), ("ce_id", b"2"), ("empty", b"")))
    assert base64.b64decode(letter.value_base64 or "") == value
    assert (letter.value_bytes, letter.value_sha256) == (MIB, hashlib.sha256(value).hexdigest())
    assert [(name, base64.b64decode(content)) for name, content in letter.headers] == [
        ("ce_id", b"\xff\x00"),
        ("ce_id", b"2"),
        ("empty", b""),
    ]
    assert (letter.topic, letter.partition, letter.offset, letter.truncated) == ("easel.requests", 3, 42, False)
    assert (out.key, out.partition) == (b"acme", 3)


def test_what_is_absent_stays_absent() -> None:
    _, letter = letter_of(key=None, value=None)
    assert (letter.key_base64, letter.value_base64, letter.value_bytes, letter.truncated) == (None, None, 0, False)


def test_of_a_larger_value_the_head_is_kept() -> None:
    value = b"x" * (MIB + 1)
    _, letter = letter_of(value=value)
    assert (letter.truncated, letter.value_bytes) == (True, MIB + 1)
    assert letter.value_sha256 == hashlib.sha256(value).hexdigest()
    assert value.startswith(base64.b64decode(letter.value_base64 or ""))


@pytest.mark.parametrize(
    ("key", "headers"),
    [
        (b"k" * MIB, ()),
        (b"k", (("x", b"\xff" * MIB),)),
        (b"k", (("\x00" * MIB, b""),)),
        (b"k", (("", b""),) * 500_000),
        (b"k", (("x", b"y" * 30_000),) * 40),
    ],
    ids=["key", "one value", "one name", "many empty", "many"],
)
def test_however_a_record_is_made_it_fits(key: bytes, headers: tuple[tuple[str, bytes], ...]) -> None:
    # A letter that its topic does not take would make the transaction fail for ever.
    out, letter = letter_of(key=key, value=b"\xff" * MIB, headers=headers)
    assert letter.truncated
    assert len(out.value or b"") + len(out.key or b"") + 4096 < int(SPEC.config["max.message.bytes"])
