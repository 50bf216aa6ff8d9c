"""CloudEvents in Kafka headers: what is read back, what is refused, what is left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.envelope import MAX_HEADER_BYTES, Envelope
from schemas.errors import Code, EaselError

RIGHT: tuple[tuple[str, bytes | None], ...] = (
    ("content-type", b"application/json"),
    ("ce_specversion", b"1.0"),
    ("ce_id", b"019aa4d2-6c00-7000-8000-000000000001"),
    ("ce_type", b"easel.generation.requested.v1"),
    ("ce_source", b"cms"),
)
ATTRIBUTES = ("specversion", "id", "type", "source", "subject", "time", "signature", "idempotencykey", "anything")

printable = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=60)
extension_names = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=20).filter(
    lambda name: name not in ATTRIBUTES[:-2]
)


def changed(name: str, value: bytes | None) -> tuple[tuple[str, bytes | None], ...]:
    return (*(header for header in RIGHT if header[0] != name), (name, value))


def refused(headers: tuple[tuple[str, bytes | None], ...], value: bytes | None = b"{}") -> EaselError:
    with pytest.raises(EaselError) as caught:
        Envelope.read(headers, value)
    assert caught.value.code is Code.ENVELOPE_INVALID
    return caught.value


@given(
    st.builds(
        Envelope,
        id=printable,
        type=printable,
        source=printable,
        data=st.binary(max_size=100),
        subject=st.none() | printable,
        time=st.none() | st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
        signature=st.none() | printable,
        traceparent=st.none() | st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", fullmatch=True),
        extensions=st.dictionaries(extension_names, printable, max_size=4),
    )
)
def test_what_is_written_is_read_back(event: Envelope) -> None:
    assert Envelope.read(event.headers(), event.data) == event


def test_the_headers_are_those_of_the_kafka_binding() -> None:
    event = Envelope(
        id="1",
        type="t",
        source="s",
        data=b"{}",
        subject="x",
        time="2026-11-21T08:00:00Z",
        signature="a.b.c",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        extensions={"idempotencykey": "k"},
    )
    assert event.headers() == (
        ("content-type", b"application/json"),
        ("ce_specversion", b"1.0"),
        ("ce_id", b"1"),
        ("ce_type", b"t"),
        ("ce_source", b"s"),
        ("ce_subject", b"x"),
        ("ce_time", b"2026-11-21T08:00:00Z"),
        ("ce_signature", b"a.b.c"),
        ("ce_idempotencykey", b"k"),
        ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    )


def test_the_data_is_kept_to_the_byte() -> None:
    assert Envelope.read(RIGHT, b' {"a": 1}\n').data == b' {"a": 1}\n'


@pytest.mark.parametrize("name", ["content-type", "traceparent", *(f"ce_{attribute}" for attribute in ATTRIBUTES)])
@pytest.mark.parametrize("equal", [True, False])
def test_a_header_that_stands_twice_is_named(name: str, equal: bool) -> None:
    first = dict(RIGHT).get(name) or b"1"
    headers = (*changed(name, first), (name, first if equal else b"2"))
    assert refused(headers).param == name
    assert refused(headers[::-1]).param == name


@pytest.mark.parametrize("name", ["ce_specversion", "ce_id", "ce_type", "ce_source"])
@pytest.mark.parametrize("value", [b"", ...])
def test_a_required_header_that_is_missing_or_empty_is_named(name: str, value: object) -> None:
    headers = tuple(header for header in RIGHT if header[0] != name)
    if isinstance(value, bytes):
        headers = (*headers, (name, value))
    assert refused(headers).param == name


@pytest.mark.parametrize("name", [header[0] for header in RIGHT] + ["ce_signature", "traceparent"])
@pytest.mark.parametrize(
    "value",
    [
        None,
        b"\xff",
        b"\xc3",
        b"\xed\xa0\x80",
        b"a\nb",
        b"a\0",
        b"\x1b[31m",
        b"\x7f",
        b"\xc2\x85",
        b"x" * (MAX_HEADER_BYTES + 1),
    ],
)
def test_a_value_that_is_no_clean_text_is_refused_by_its_header(name: str, value: bytes | None) -> None:
    assert refused(changed(name, value)).param == name


def test_the_longest_header_still_fits() -> None:
    assert Envelope.read(changed("ce_source", b"x" * MAX_HEADER_BYTES), b"{}").source == "x" * MAX_HEADER_BYTES


@pytest.mark.parametrize(
    "name", ["ce_", "ce_Id", "ce_my-ext", "ce_my_ext", "ce_" + "x" * 21, "ce_ü", "ce_id ", "ce_\n"]
)
def test_a_name_that_cloudevents_does_not_know_is_refused(name: str) -> None:
    error = refused((*RIGHT, (name, b"x")))
    assert error.param == name
    assert "\n" not in error.message


def test_a_long_name_is_not_repeated_whole() -> None:
    error = refused((*RIGHT, ("ce_" + "x" * 10_000, b"x")))
    assert len(error.message) < 200


@pytest.mark.parametrize(
    "header",
    [
        ("x-request-id", b"1"),
        ("kafka_correlationId", b"\xff\xfe"),
        ("CE_ID", b"2"),
        ("ce-id", b"2"),
        ("", b""),
        ("b3", None),
    ],
)
def test_other_headers_are_left_alone(header: tuple[str, bytes | None]) -> None:
    event = Envelope.read((*RIGHT, header, header), b"{}")
    assert event == Envelope.read(RIGHT, b"{}")
    assert event.extensions == {}


def test_extensions_are_kept() -> None:
    assert Envelope.read((*RIGHT, ("ce_tenantref", "ü".encode())), b"{}").extensions == {"tenantref": "ü"}


@pytest.mark.parametrize("version", [b"1.1", b"0.3", b"1", b" 1.0", b"1.0 "])
def test_another_version_is_refused(version: bytes) -> None:
    assert refused(changed("ce_specversion", version)).param == "ce_specversion"


@pytest.mark.parametrize("given", [b"application/json", b"Application/JSON", b"application/json; charset=utf-8"])
def test_json_by_any_spelling(given: bytes) -> None:
    assert Envelope.read(changed("content-type", given), b"{}").id == "019aa4d2-6c00-7000-8000-000000000001"


@pytest.mark.parametrize("given", [b"text/plain", b"application/cloudevents+json", b"application/jsonx", b"", b";"])
def test_anything_else_is_refused(given: bytes) -> None:
    # Structured mode (application/cloudevents+json) included: its attributes would be unsigned data.
    assert refused(changed("content-type", given)).param == "content-type"


def test_no_content_type() -> None:
    assert refused(RIGHT[1:]).param == "content-type"


@pytest.mark.parametrize("time", [b"2026-11-21T08:00:00Z", b"2026-11-21T08:00:00.123456+08:00"])
def test_a_time(time: bytes) -> None:
    assert Envelope.read(changed("ce_time", time), b"{}").time == time.decode()


@pytest.mark.parametrize("time", [b"", b"now", b"2026-11-21T08:00:00", b"2026-13-01T00:00:00Z", b"1763712000"])
def test_no_time(time: bytes) -> None:
    assert refused(changed("ce_time", time)).param == "ce_time"


TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize("trace", [TRACE[:-3], TRACE + b"-extra", TRACE.upper(), TRACE.replace(b"-", b"_"), b"", b"x"])
def test_a_malformed_trace_is_dropped_and_never_a_reason_to_refuse(trace: bytes) -> None:
    assert Envelope.read(changed("traceparent", trace), b"{}").traceparent is None


def test_a_record_without_a_value_is_refused() -> None:
    assert refused(RIGHT, None).param == "value"


def test_an_empty_value_is_the_datas_affair() -> None:
    assert Envelope.read(RIGHT, b"").data == b""


def test_no_headers_at_all() -> None:
    assert refused(()).param == "ce_specversion"


@given(
    st.lists(
        st.tuples(
            st.sampled_from([name for name, _ in RIGHT]) | st.text(max_size=12), st.none() | st.binary(max_size=20)
        )
    )
)
def test_nothing_makes_it_stumble(headers: list[tuple[str, bytes | None]]) -> None:
    try:
        Envelope.read(headers, b"{}")
    except EaselError as caught:
        error = caught
    else:
        return
    assert error.code is Code.ENVELOPE_INVALID
    assert error.param
