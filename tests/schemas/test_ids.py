"""Ids: within a day of their arrival, and the same again whenever an event is made again."""

from __future__ import annotations

import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import Code, EaselError
from schemas.ids import DAY_MS, event_id, new_id, require_request_id, time_of

KNOWN = "019aa4d2-6c00-7000-8000-000000000001"
KNOWN_MS = 0x019AA4D26C00


def code_of(request_id: str, at_ms: int = KNOWN_MS) -> Code | None:
    try:
        require_request_id(request_id, at_ms=at_ms)
    except EaselError as caught:
        error = caught
    else:
        return None
    assert error.param == "ce_id"
    return error.code


def test_the_time_is_in_the_id() -> None:
    assert time_of(KNOWN) == KNOWN_MS


def test_a_new_id_is_of_now_and_unlike_the_last() -> None:
    made = [new_id() for _ in range(1_000)]
    assert abs(time_of(made[0]) - time.time() * 1000) < 10_000
    assert len(set(made)) == 1_000
    assert made == sorted(made)
    assert code_of(made[0], time_of(made[0])) is None


@pytest.mark.parametrize(
    ("off_ms", "code"),
    [
        (0, None),
        (DAY_MS, None),
        (-DAY_MS, None),
        (DAY_MS + 1, Code.ID_OUT_OF_TIME),
        (-DAY_MS - 1, Code.ID_OUT_OF_TIME),
    ],
)
def test_the_window_is_a_day_each_way_to_the_millisecond(off_ms: int, code: Code | None) -> None:
    assert code_of(KNOWN, KNOWN_MS + off_ms) is code


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "x",
        "../../etc/passwd",
        KNOWN.upper(),
        KNOWN.replace("-", ""),
        "{" + KNOWN + "}",
        "urn:uuid:" + KNOWN,
        " " + KNOWN,
        KNOWN + "\n",
        KNOWN[:-1],
        KNOWN + "0",
        str(uuid.UUID(int=0)),
        "019aa4d2-6c00-4000-8000-000000000001",  # version 4
        "019aa4d2-6c00-1000-8000-000000000001",  # version 1
        "019aa4d2-6c00-7000-0000-000000000001",  # another variant
        "019aa4d2-6c00-7000-8000-00000000000\u0661",  # a digit, but not an ASCII one
        "019aa4d2_6c00-7000-8000-000000000001",
        "x" * 100_000,
    ],
)
def test_one_spelling_of_one_version(wrong: str) -> None:
    assert code_of(wrong) is Code.ID_INVALID


def test_a_long_id_is_not_repeated_whole() -> None:
    with pytest.raises(EaselError) as caught:
        require_request_id("x" * 100_000, at_ms=KNOWN_MS)
    assert len(caught.value.message) < 200


@given(st.text(max_size=60))
def test_nothing_makes_it_stumble(text: str) -> None:
    assert code_of(text) in (None, Code.ID_INVALID, Code.ID_OUT_OF_TIME)


# Public: readers deduplicate by these, also across releases.
@pytest.mark.parametrize(
    ("event_type", "number", "expected"),
    [
        ("easel.generation.accepted.v1", 0, "a6fad25f-4c13-5712-ac16-05808a35f7ba"),
        ("easel.generation.succeeded.v1", 0, "0fe2a095-deed-535f-a796-bd20b6ad9d1e"),
        ("easel.generation.duplicate.v1", 7, "37989bc9-7491-52d9-a64d-f44f3ddef943"),
    ],
)
def test_event_ids_are_for_ever(event_type: str, number: int, expected: str) -> None:
    assert event_id("acme", KNOWN, event_type, number) == expected
    assert expected == str(uuid.uuid5(uuid.UUID(KNOWN), f"acme/{event_type}/{number}"))


def test_event_ids_differ_by_each_part() -> None:
    other = "019aa4d2-6c00-7000-8000-000000000002"
    made = {
        event_id(who, about, kind, number)
        for who in ("acme", "globex")
        for about in (KNOWN, other)
        for kind in ("a", "b")
        for number in (0, 1)
    }
    assert len(made) == 16
