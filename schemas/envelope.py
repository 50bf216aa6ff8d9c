"""CloudEvents 1.0 on Kafka, binary mode: attributes travel as headers, the value is the data.

Written here rather than taken from the SDK, whose dict of headers lets the last of two equal names win: a signed event
with two signatures must be refused, not read in some order. Source: CloudEvents 1.0.2 and its Kafka protocol binding.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from schemas.errors import Code, EaselError

__all__ = ["JSON", "MAX_HEADER_BYTES", "Envelope", "Headers"]

Headers = Iterable[tuple[str, bytes | None]]
"""Kafka headers in their order; a value may be null on the wire."""

JSON = "application/json"
MAX_HEADER_BYTES = 8 * 1024
"""Limit on one header; a token with every claim in it stays under 1 KiB."""

_PREFIX = "ce_"
_ATTRIBUTE = re.compile(r"[a-z0-9]{1,20}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_REQUIRED = ("specversion", "id", "type", "source")
_FIRST = (("content-type", JSON.encode()), ("ce_specversion", b"1.0"))
# Names that nearly every record has need no pattern.
_USUAL = {_PREFIX + name: name for name in (*_REQUIRED, "subject", "time", "signature")}


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """One event. ``data`` is the value as it was on the wire: signatures are over these bytes."""

    id: str
    type: str
    source: str
    data: bytes
    subject: str | None = None
    time: str | None = None
    signature: str | None = None
    traceparent: str | None = None
    extensions: Mapping[str, str] = msgspec.field(default_factory=dict)

    def headers(self) -> tuple[tuple[str, bytes], ...]:
        """The Kafka headers of this event."""
        found = [
            *_FIRST,
            ("ce_id", self.id.encode()),
            ("ce_type", self.type.encode()),
            ("ce_source", self.source.encode()),
        ]
        for name, value in (("ce_subject", self.subject), ("ce_time", self.time), ("ce_signature", self.signature)):
            if value is not None:
                found.append((name, value.encode()))
        found.extend((_PREFIX + name, self.extensions[name].encode()) for name in sorted(self.extensions))
        if self.traceparent is not None:
            found.append(("traceparent", self.traceparent.encode()))
        return tuple(found)

    @classmethod
    def read(cls, headers: Headers, value: bytes | None) -> Envelope:
        """The event in a record. Headers that are not CloudEvents' are left alone.

        Raises ``EaselError(envelope_invalid)``, whose ``param`` is the header at fault.
        """
        attributes = _attributes(headers)
        content_type = attributes.pop("content-type", None)
        traceparent = attributes.pop("traceparent", None)
        for name in _REQUIRED:
            if not attributes.get(name):
                raise _invalid(_PREFIX + name, "is missing or empty")
        if attributes.pop("specversion") != "1.0":
            raise _invalid("ce_specversion", "is not 1.0")
        if content_type != JSON and not _is_json(content_type):
            raise _invalid("content-type", f"is not {JSON}")
        time = attributes.pop("time", None)
        if time is not None:
            _require_time(time)
        if value is None:
            raise _invalid("value", "is null: the event has no data")
        return cls(
            id=attributes.pop("id"),
            type=attributes.pop("type"),
            source=attributes.pop("source"),
            subject=attributes.pop("subject", None),
            time=time,
            signature=attributes.pop("signature", None),
            # A malformed trace context is restarted, never a reason to refuse work (W3C Trace Context, 3.2).
            traceparent=traceparent if traceparent and _TRACEPARENT.fullmatch(traceparent) else None,
            extensions=attributes,
            data=value,
        )


def _attributes(headers: Headers) -> dict[str, str]:
    found: dict[str, str] = {}
    for header, raw in headers:
        if header in _USUAL:
            name = _USUAL[header]
        elif header in ("content-type", "traceparent"):
            name = header
        elif header.startswith(_PREFIX):
            name = header.removeprefix(_PREFIX)
            if not _ATTRIBUTE.fullmatch(name):
                raise _invalid(header[:40], "is not a CloudEvents attribute name (a-z and 0-9, at most 20)")
        else:
            continue
        if name in found:
            raise _invalid(header, "stands twice: send it once")
        if raw is None or len(raw) > MAX_HEADER_BYTES:
            raise _invalid(header, f"is null or longer than {MAX_HEADER_BYTES} bytes")
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise _invalid(header, "is not UTF-8") from None
        if not text.isprintable() and _CONTROL.search(text):
            raise _invalid(header, "contains a control character")
        found[name] = text
    return found


def _is_json(content_type: str | None) -> bool:
    return content_type is not None and content_type.partition(";")[0].strip().lower() == JSON


def _require_time(text: str) -> None:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        parsed = None
    if parsed is None or parsed.tzinfo is None:
        raise _invalid("ce_time", "is not an RFC 3339 time with an offset")


def _invalid(header: str, what: str) -> EaselError:
    return EaselError(Code.ENVELOPE_INVALID, f"the header {header!r} {what}", param=header)
