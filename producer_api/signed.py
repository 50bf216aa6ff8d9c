"""What a tenant asks, as the record that admission expects: a signed CloudEvent, keyed by its tenant."""

from __future__ import annotations

import time

from schemas.envelope import Envelope
from schemas.ids import new_id
from schemas.requests import CancelRequest, DeleteRequest, GenerationRequest
from schemas.signing import IDEMPOTENCY_KEY, Signer
from schemas.topics import Topics
from transport.records import Outgoing

__all__ = ["Asked", "build_request"]

Asked = GenerationRequest | CancelRequest | DeleteRequest


def build_request(
    request: Asked,
    *,
    tenant: str,
    signer: Signer,
    topics: Topics,
    request_id: str | None = None,
    idempotency_key: str | None = None,
    caller: str | None = None,
    now_s: float | None = None,
    traceparent: str | None = None,
) -> Outgoing:
    """The signed record of ``request``; its key makes Kafka's murmur2 choose the tenant's partition.

    ``request_id`` is the id of the event, a UUIDv7, made when absent: a cancel and a delete have one of their own. The
    same request and id have the same body, so that admission recognizes a repetition; so does the same
    ``idempotency_key`` under another id. ``caller``: on whose word an issuer signs, for the audit. ``now_s`` is the
    time of signing, in seconds since 1970. Publishing the record again, as it is, is safe until its token expires
    (``signer.lifetime_s``).
    """
    id_ = new_id() if request_id is None else request_id
    # Without what is only a default: asking for it in so many words is the same request.
    body = request.model_dump_json(exclude_defaults=True).encode()
    token = signer.sign(
        tenant=tenant,
        event_type=request.TYPE,
        event_id=id_,
        body=body,
        now_s=time.time() if now_s is None else now_s,
        idempotency_key=idempotency_key,
        caller=caller,
    )
    event = Envelope(
        id=id_,
        type=request.TYPE,
        source=signer.issuer,
        subject=id_,
        data=body,
        signature=token,
        traceparent=traceparent,
        extensions={} if idempotency_key is None else {IDEMPOTENCY_KEY: idempotency_key},
    )
    return Outgoing(topics.requests, body, key=tenant.encode(), headers=event.headers())
