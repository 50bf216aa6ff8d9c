"""What headers ask and tell, as their documents have it."""

from __future__ import annotations

import pytest

from producer_api.errors import ApiError
from producer_api.idempotency import key_of
from producer_api.preferring import wait_of
from producer_api.ranges import NotSatisfiable, range_of
from producer_api.rate_limits import rate_limit_headers
from schemas.events import Limit


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], None),
        (["respond-async"], None),
        (["wait"], 60),
        (["wait=5"], 5),
        (["wait=0"], 0),
        (["wait=600"], 60),
        (['respond-async, Wait = "7"; x=1'], 7),
        (["handling=lenient", "wait=3"], 3),
        (["wait=soon"], None),
        (["wait=-1"], None),
        (["waits=5"], None),
    ],
)
def test_how_long_is_to_be_waited(headers: list[str], seconds: int | None) -> None:
    assert wait_of(headers) == seconds


@pytest.mark.parametrize(
    ("header", "part"),
    [
        (None, None),
        ("bytes=0-9", (0, 10)),
        ("bytes=90-", (90, 10)),
        ("bytes=90-1000", (90, 10)),
        ("Bytes = 5 - 5", (5, 1)),
        ("bytes=-10", (90, 10)),
        ("bytes=-1000", (0, 100)),
        ("bytes=0-1,5-9", None),
        ("bytes=9-5", None),
        ("bytes=-", None),
        ("bytes=x-y", None),
        ("pixels=0-9", None),
        ("", None),
    ],
)
def test_the_part_of_a_hundred_bytes_that_a_range_names(header: str | None, part: tuple[int, int] | None) -> None:
    assert range_of(header, 100) == part


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_beyond_the_end_cannot_be_satisfied(header: str) -> None:
    with pytest.raises(NotSatisfiable):
        range_of(header, 100)


def test_limits_are_structured_fields() -> None:
    limits = [
        Limit(name="requests_per_minute", limit=60, remaining=59),
        Limit(name="milliunits_per_day", limit=10_000, remaining=0),
        Limit(name="milliunits_per_month", limit=90_000, remaining=4),
        Limit(name="queued", limit=5, remaining=1),
    ]
    assert rate_limit_headers(limits) == {
        "RateLimit-Policy": '"requests_per_minute";q=60;w=60, "milliunits_per_day";q=10000;qu="milliunits";w=86400, '
        '"milliunits_per_month";q=90000;qu="milliunits", "queued";q=5;qu="concurrent-requests"',
        "RateLimit": '"requests_per_minute";r=59, "milliunits_per_day";r=0, "milliunits_per_month";r=4, "queued";r=1',
    }
    assert rate_limit_headers(limits[:1], 1.2)["RateLimit"] == '"requests_per_minute";r=59;t=2'
    assert rate_limit_headers([]) == {}


@pytest.mark.parametrize(
    ("header", "key"),
    [
        (None, None),
        ("order-7", "order-7"),
        ('"order-7"', "order-7"),
        (r'"a\"b\\c"', r'a"b\c'),
        ('half"', 'half"'),
        ("x" * 255, "x" * 255),
    ],
)
def test_a_key_is_the_same_in_quotes_and_bare(header: str | None, key: str | None) -> None:
    assert key_of(header) == key


@pytest.mark.parametrize("header", ["", '""', "a b", '"a b"', "x" * 256, "ü"])
def test_what_cannot_be_a_key_is_refused(header: str) -> None:
    with pytest.raises(ApiError) as refused:
        key_of(header)
    assert (refused.value.status, refused.value.error.param) == (400, "Idempotency-Key")
