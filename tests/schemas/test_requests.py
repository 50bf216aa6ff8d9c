"""What a tenant may ask for: the bounds of each field, and a name for whatever is wrong."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import Code, EaselError, ErrorType
from schemas.requests import MAX_REQUEST_BYTES, MAX_SEED, GenerationRequest, Parameters, read_request

RIGHT: dict[str, Any] = {"prompt": "a red circle", "model": "easel-tiny"}


def read(**fields: Any) -> GenerationRequest:
    return read_request(json.dumps({**RIGHT, **fields}).encode())


def refused(body: bytes) -> EaselError:
    with pytest.raises(EaselError) as caught:
        read_request(body)
    assert caught.value.code is Code.INVALID_REQUEST
    assert caught.value.type is ErrorType.INVALID_REQUEST
    return caught.value


def test_two_fields_are_enough() -> None:
    request = read()
    assert (request.prompt, request.model, request.images, request.seed) == ("a red circle", "easel-tiny", 1, None)


# Field, the least and the most that it takes, and what lies just beyond.
BOUNDS: list[tuple[str, list[Any], list[Any]]] = [
    (
        "prompt",
        ["x", "x" * 2_000, "一个红色的圆", "🎨", " x ", "a\nb"],
        ["", " ", "\n\t", "x" * 2_001, None, 1, ["x"], "a\0b"],
    ),
    ("model", ["a", "x" * 100, "Qwen-Image", "z.1_2"], ["", "x" * 101, "-a", "a/b", "../a", "a b", "a\n", None, 1]),
    ("negative_prompt", [None, "", "x" * 2_000], ["x" * 2_001, 1, "a\0b"]),
    ("images", [1, 10], [0, 11, -1, 1.0, "1", True, None]),
    ("width", [16, 8_192, None], [15, 8_193, 512.0, "512", True]),
    ("height", [16, 8_192, None], [15, 8_193, 512.5, "512", False]),
    ("steps", [1, 200, None], [0, 201, 1.0, "12"]),
    ("guidance", [0, 0.0, 50.0, 7.5, None], [-0.01, 50.01, "7", True]),
    ("seed", [0, MAX_SEED, None], [-1, MAX_SEED + 1, 1.0, "1"]),
    ("style", ["photo", None], ["", "a b", 1]),
    ("source_image", ["outputs/acme/a.png", None], ["", "x" * 513, 1]),
    ("strength", [0.01, 1.0, None], [0.0, 1.01, "0.5"]),
    ("mask_image", ["outputs/acme/a.png", None], ["", "x" * 513]),
    ("format", ["png", "jpeg", "webp"], ["gif", "PNG", "jpg", "", None, 1]),
    ("quality", [1, 100], [0, 101, 95.0]),
    ("priority", ["low", "normal", "high"], ["urgent", "HIGH", None]),
    (
        "deadline",
        ["2026-11-21T08:00:00Z", "2026-11-21T08:00:00+08:00", None],
        ["2026-11-21T08:00:00", "soon", 1763712000],
    ),
    (
        "adapters",
        [[], [{"name": "ink"}], [{"name": "ink", "scale": -4}] * 8],
        [[{"name": "ink"}] * 9, None, {}, ["ink"]],
    ),
    ("group", ["a", "spring.issue_2-b", "x" * 100, None], ["", "x" * 101, "-a", "a b", 1]),
    ("previews", [True, False], ["true", 1, None]),
    (
        "webhook",
        [
            None,
            {"url": "https://a.example"},
            {"url": "http://a.example:8080/x?y=1#z", "events": ["accepted", "canceled"]},
            {"url": "https://a.example/" + "x" * 2_030},
        ],
        [
            "https://a.example",
            {},
            {"url": "ftp://a.example"},
            {"url": "https://a.example/" + "x" * 2_031},
            {"url": "https://u:p@a.example/"},
            {"url": "https://a.example/", "events": ["ended"]},
            {"url": "https://a.example/", "events": []},
        ],
    ),
    ("dry_run", [True, False], ["true", 1, None]),
    (
        "metadata",
        [{}, {"k" * 64: "v" * 512}, {str(i): "" for i in range(16)}],
        [
            {"": "v"},
            {"k" * 65: "v"},
            {"k": "v" * 513},
            {str(i): "" for i in range(17)},
            {"k": 1},
            {"k": None},
            [],
            None,
            {"k": "\0"},
        ],
    ),
]


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, good, _ in BOUNDS for value in good])
def test_within_bounds(field: str, value: Any) -> None:
    read(**{field: value})


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, _, bad in BOUNDS for value in bad])
def test_beyond_bounds_the_field_is_named(field: str, value: Any) -> None:
    error = refused(json.dumps({**RIGHT, field: value}).encode())
    assert error.param is not None
    assert error.param.split(".")[0] == field


def test_every_field_has_its_bounds_tested() -> None:
    assert {field for field, _, _ in BOUNDS} == set(GenerationRequest.model_fields)


@pytest.mark.parametrize("field", ["prompt", "model"])
def test_a_missing_field_is_named(field: str) -> None:
    assert refused(json.dumps({name: value for name, value in RIGHT.items() if name != field}).encode()).param == field


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"num_images": 4}, "num_images"),
        ({"Prompt": "x"}, "Prompt"),
        ({"adapters": [{"name": "ink", "weight": 1}]}, "adapters.0.weight"),
        ({"tenant": "globex"}, "tenant"),
        ({"": 1}, None),
    ],
)
def test_an_unknown_field_is_named(fields: dict[str, Any], param: str | None) -> None:
    error = refused(json.dumps({**RIGHT, **fields}).encode())
    assert error.param == param
    assert "not known" in error.message


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
@pytest.mark.parametrize("field", ["guidance", "strength"])
def test_numbers_that_are_none(field: str, number: str) -> None:
    body = json.dumps({**RIGHT, field: 0}).replace(": 0", f": {number}").encode()
    assert refused(body).param == field


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_nor_in_an_adapter(number: str) -> None:
    body = json.dumps({**RIGHT, "adapters": [{"name": "ink", "scale": 0}]}).replace(": 0", f": {number}").encode()
    assert refused(body).param == "adapters.0.scale"


@pytest.mark.parametrize("half", ["\\ud800", "\\udfff", "\\ud800x", "\\ud800\\u0041", "\\udc00\\ud800"])
@pytest.mark.parametrize(
    "place", ['"prompt":"%s"', '"negative_prompt":"%s"', '"metadata":{"k":"%s"}', '"metadata":{"%s":"v"}']
)
def test_half_a_surrogate_pair_is_no_text(place: str, half: str) -> None:
    fields = [f'"{name}":"{value}"' for name, value in RIGHT.items() if f'"{name}"' not in place]
    body = "{" + ",".join([*fields, place % half]) + "}"
    refused(body.encode())
    refused(body.encode("utf-8").replace(half.encode(), b"\xed\xa0\x80"))


@pytest.mark.parametrize(
    "body", [b"", b" ", b"null", b"[]", b'"x"', b"1", b"{", b"\xff", b"\xef\xbb\xbf{}", b"{'prompt':'x'}"]
)
def test_what_is_no_object(body: bytes) -> None:
    assert refused(body).param is None


def test_of_two_equal_names_the_last_counts() -> None:
    # As for most readers of JSON; the signature is over the bytes, so nobody but the signer can add one.
    assert read_request(b'{"prompt":"a","model":"m","prompt":"b"}').prompt == "b"


def test_the_size_is_bounded_to_the_byte() -> None:
    body = json.dumps(RIGHT).encode()
    assert read_request(body + b" " * (MAX_REQUEST_BYTES - len(body))).prompt == RIGHT["prompt"]
    assert "larger than" in refused(body + b" " * (MAX_REQUEST_BYTES - len(body) + 1)).message


BOMBS = {
    "lists": b"[" * MAX_REQUEST_BYTES,
    "closed lists": b"[" * (MAX_REQUEST_BYTES // 2) + b"]" * (MAX_REQUEST_BYTES // 2),
    "objects": b'{"a":' * (MAX_REQUEST_BYTES // 5),
    "nested in a field": b'{"prompt":"a","model":"m","metadata":' + b'{"a":' * 50_000,
    "many names": b"{" + b",".join(b'"%d":1' % i for i in range(25_000)) + b"}",
    "many adapters": b'{"prompt":"a","model":"m","adapters":[' + b",".join([b"{}"] * 80_000) + b"]}",
    "a long number": b'{"prompt":"a","model":"m","seed":' + b"9" * 200_000 + b"}",
    "a long fraction": b'{"prompt":"a","model":"m","guidance":0.' + b"9" * 200_000 + b"e308}",
    "escapes": b'{"prompt":"' + b"\\u0041" * 40_000 + b'","model":"m"}',
    "a long name": b'{"prompt":"a","model":"m","' + b"x" * 250_000 + b'":1}',
}


@pytest.mark.parametrize("body", BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused_at_once_and_briefly(body: bytes) -> None:
    began = time.process_time()
    error = refused(body[:MAX_REQUEST_BYTES])
    assert time.process_time() - began < 1.0
    assert len(error.message) < 1_000
    assert len(error.param or "") <= 200


def test_a_refusal_does_not_repeat_what_was_sent() -> None:
    error = refused(json.dumps({**RIGHT, "prompt": "secret " * 1_000}).encode())
    assert "secret" not in error.message


def test_a_refusal_tells_how_much_else_is_wrong() -> None:
    assert "1 more" in refused(b'{"prompt":"","model":""}').message


@given(
    st.binary(max_size=300)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(sorted(GenerationRequest.model_fields)) | st.text(max_size=5), inner, max_size=5
            )
        ),
        max_leaves=15,
    ).map(lambda value: json.dumps(value).encode())
)
def test_nothing_makes_it_stumble(body: bytes) -> None:
    try:
        read_request(body)
    except EaselError as caught:
        error = caught
    else:
        return
    assert error.code is Code.INVALID_REQUEST
    assert error.body().model_dump_json()


def test_seeds_count_up_and_wrap() -> None:
    parameters = Parameters(
        model="m", prompt="p", images=3, width=96, height=96, steps=4, guidance=1.0, seed=MAX_SEED - 1
    )
    assert parameters.seeds() == [MAX_SEED - 1, MAX_SEED, 0]
