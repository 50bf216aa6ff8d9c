"""What an auditor asks of each decision: who, what, decided what, at which cost, when, where, by which rules."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from ops.cli.accounts import in_order
from ops.dead_letters.letters import read_letter
from schemas.audit import AUDIT_HEADER, AuditNote
from schemas.connection import KafkaSettings
from schemas.topics import Topics
from transport.records import Record
from transport.tail import read_partition

__all__ = ["Entry", "entry_of", "read_entries"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One decision. Of the end of a request nobody asked; of what no tenant stands behind only the place is known."""

    at_ms: int
    """When it was committed, by the broker's clock."""
    decision: str
    """``accepted``, ``rejected``, ``duplicate``, ``succeeded``, … as events are called; or ``dead_lettered``."""
    tenant: str | None
    request_id: str | None
    code: str | None
    cost_milliunits: int | None
    """Held by ``accepted``, charged by the end, asked for by ``priced``."""
    blocked: tuple[int, ...]
    """Pictures, by index, that the image check held back."""
    flagged: tuple[int, ...]
    """Pictures that were delivered although it found something, as they were or blurred: for people to review."""
    issuer: str | None
    kid: str | None
    caller: str | None
    """Of a request over HTTP: the id of the API key."""
    asked: str | None
    """The ``ce_type`` that was asked for."""
    asked_id: str | None
    body_sha256: str | None
    place: str | None
    """Where what was asked for lay: ``requests/3@17``."""
    tenants_version: int | None


def entry_of(record: Record) -> Entry | None:
    """The entry in a record of the results topic; None for what is no event."""
    headers = dict(record.headers)
    kind = (headers.get("ce_type") or b"").decode(errors="replace")
    try:
        data: dict[str, Any] = from_json(record.value or b"")
        note = headers.get(AUDIT_HEADER)
        asked = AuditNote.model_validate_json(note) if note is not None else None
    except (ValueError, ValidationError):
        return None
    if not kind.startswith("easel.generation.") or not isinstance(data, dict):
        return None
    return Entry(
        at_ms=record.timestamp_ms,
        decision=kind.split(".")[2],
        tenant=data.get("tenant"),
        request_id=data.get("request_id"),
        code=(data.get("error") or {}).get("code"),
        cost_milliunits=data.get("cost_milliunits"),
        blocked=tuple(data.get("blocked") or ()),
        flagged=tuple(output["index"] for output in data.get("outputs") or () if output.get("flagged")),
        issuer=asked.issuer if asked else None,
        kid=asked.kid if asked else None,
        caller=asked.caller if asked else None,
        asked=asked.type if asked else None,
        asked_id=asked.id if asked else None,
        body_sha256=asked.body_sha256 if asked else None,
        place=f"{asked.input}/{asked.partition}@{asked.offset}" if asked else None,
        tenants_version=asked.tenants_version if asked else None,
    )


async def read_entries(kafka: KafkaSettings, since_ms: int | None) -> AsyncGenerator[Entry, None]:
    """All of them in the order of their times, as the topics stand now. Raises ``TransportError``."""
    topics = Topics(kafka.prefix)
    partitions = [
        read_partition(kafka, topic, number, since_ms=since_ms)
        for topic in (topics.results, topics.dead_letters)
        for number in range(kafka.partitions)
    ]
    async with aclosing(in_order(partitions)) as records:
        async for record in records:
            found = _refused_unread(record, kafka) if record.topic == topics.dead_letters else entry_of(record)
            if found is not None:
                yield found


def _refused_unread(record: Record, kafka: KafkaSettings) -> Entry | None:
    letter = read_letter(record)
    if letter is None:
        return None
    content = letter.content
    name = content.topic.removeprefix(f"{kafka.prefix}.")
    return Entry(
        at_ms=record.timestamp_ms,
        decision="dead_lettered",
        tenant=None,
        request_id=None,
        code=str(content.cause.code),
        cost_milliunits=None,
        blocked=(),
        flagged=(),
        issuer=None,
        kid=None,
        caller=None,
        asked=None,
        asked_id=None,
        body_sha256=content.value_sha256,
        place=f"{name}/{content.partition}@{content.offset}",
        tenants_version=None,
    )
