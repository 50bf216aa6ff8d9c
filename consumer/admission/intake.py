"""From a record to a request that is known to be its tenant's: envelope, signature, schema, home partition."""

from __future__ import annotations

import hashlib

import msgspec
from pydantic import ValidationError

from consumer.admission.rules import Rules
from consumer.admission.state import RequestKey
from schemas.envelope import Envelope
from schemas.errors import Code, EaselError, ErrorType
from schemas.ids import require_idempotency_key, require_request_id, require_uuid7
from schemas.jobs import JobCanceled, JobDeleted, JobFailed, JobReleased, JobStarted, JobSucceeded, Outcome
from schemas.requests import CancelRequest, DeleteRequest, GenerationRequest, invalid_request, read_wish
from schemas.signing import IDEMPOTENCY_KEY, Verified, verify
from schemas.tenants import Directory, Tenant
from transport.partitioning import partition_of
from transport.records import Headers, Record

__all__ = [
    "APPENDED_HEADER",
    "REPLAY_HEADER",
    "Submission",
    "Wish",
    "appended_ms",
    "authenticate",
    "home_of",
    "identify",
    "is_replay",
    "noted_append_ms",
    "read_outcome",
    "understand",
]

APPENDED_HEADER = "easel_appended_ms"
"""On ``rerouted``, which only admission and operators may write: when the broker first received the request."""

REPLAY_HEADER = "easel_replay"
"""On ``rerouted`` too: the place of the dead letter that a replayed request was taken from."""


class Submission(msgspec.Struct, frozen=True, gc=False):
    """A request event whose signature holds."""

    envelope: Envelope
    key: RequestKey
    tenant: Tenant
    issuer: str
    kid: str
    appended_ms: int
    """When the broker first received it: by it the token and the id are judged."""
    at_ms: int
    """The same, but of a replay when that arrived: by it rate, budgets, deadline and age are judged."""
    number: str
    """Where it was read: tells apart what is said of several submissions of one id."""
    body_sha256: str
    idempotency_key: str | None = None
    caller: str | None = None
    """Whom the issuer names as the one who acts."""
    replayed: bool = False


def identify(record: Record, rules: Rules) -> Submission:
    """Who asks. Raises ``EaselError`` for a record that no tenant stands behind."""
    envelope = Envelope.read(record.headers, record.value)
    first_ms = appended_ms(record, rules)
    verified = authenticate(envelope, rules.directory, rules.installation, appended_ms=first_ms)
    tenant = rules.directory.tenants[verified.tenant]
    replayed = is_replay(record, rules)
    return Submission(
        envelope=envelope,
        key=RequestKey(tenant.id, envelope.id),
        tenant=tenant,
        issuer=verified.issuer,
        kid=verified.kid,
        appended_ms=first_ms,
        at_ms=record.timestamp_ms if replayed else first_ms,
        number=f"{rules.input_of(record.topic)}/{record.partition}:{record.offset}",
        body_sha256=hashlib.sha256(envelope.data).hexdigest(),
        idempotency_key=envelope.extensions.get(IDEMPOTENCY_KEY),
        caller=verified.caller,
        replayed=replayed,
    )


def authenticate(envelope: Envelope, directory: Directory, installation: str, *, appended_ms: int) -> Verified:
    """Which tenant signed an event that the broker first received at this time. Raises ``EaselError`` if none did."""
    verified = verify(
        envelope.signature,
        keys=directory.keys,
        audience=installation,
        event_type=envelope.type,
        event_id=envelope.id,
        body=envelope.data,
        appended_ms=appended_ms,
        idempotency_key=envelope.extensions.get(IDEMPOTENCY_KEY),
    )
    if verified.tenant not in directory.tenants:
        raise EaselError(
            Code.TENANT_NOT_ALLOWED,
            f"the tenant {verified.tenant!r} is not in tenants.yaml",
            param="sub",
            type=ErrorType.PERMISSION,
        )
    require_uuid7(envelope.id)
    return verified


Wish = GenerationRequest | CancelRequest | DeleteRequest
_WISHES: dict[str, type[Wish]] = {kind.TYPE: kind for kind in (GenerationRequest, CancelRequest, DeleteRequest)}


def understand(submission: Submission) -> Wish:
    """What is asked. Raises ``EaselError`` that its tenant can be told."""
    kind = _WISHES.get(submission.envelope.type)
    if kind is None:
        raise EaselError(
            Code.UNSUPPORTED_TYPE,
            f"the type {submission.envelope.type[:100]!r} is not one that requests may have; these are:"
            f" {', '.join(_WISHES)}",
            param="ce_type",
        )
    require_request_id(submission.key.request_id, at_ms=submission.appended_ms)
    if submission.idempotency_key is not None:
        require_idempotency_key(submission.idempotency_key)
    return read_wish(submission.envelope.data, kind)


def home_of(tenant: str, rules: Rules) -> int:
    """The partition that keeps a tenant's account."""
    return partition_of(tenant.encode(), rules.partitions)


def appended_ms(record: Record, rules: Rules) -> int:
    """When the broker first received what is in a record."""
    # On requests anyone may have written the header.
    noted = noted_append_ms(record.headers) if record.topic == rules.topics.rerouted else None
    return record.timestamp_ms if noted is None else noted


def noted_append_ms(headers: Headers) -> int | None:
    """The time of first arrival that the headers of a record on ``rerouted`` tell."""
    for name, value in headers:
        if name == APPENDED_HEADER and value is not None and value.isdigit():
            return int(value)
    return None


def is_replay(record: Record, rules: Rules) -> bool:
    """Whether an operator has taken this record from the dead letters."""
    return record.topic == rules.topics.rerouted and any(name == REPLAY_HEADER for name, _ in record.headers)


_OUTCOMES: dict[str, type[Outcome]] = {
    kind.TYPE: kind for kind in (JobStarted, JobReleased, JobSucceeded, JobFailed, JobCanceled, JobDeleted)
}


def read_outcome(record: Record) -> tuple[Outcome, RequestKey]:
    """What the fleet reports. Raises ``EaselError`` for a record that is no report."""
    envelope = Envelope.read(record.headers, record.value)
    kind = _OUTCOMES.get(envelope.type)
    if kind is None:
        raise EaselError(
            Code.UNSUPPORTED_TYPE, f"the type {envelope.type[:100]!r} is no report of a job", param="ce_type"
        )
    try:
        event = kind.model_validate_json(envelope.data)
    except ValidationError as error:
        raise invalid_request(error) from None
    return event, RequestKey(event.tenant, event.request_id)
