"""One attempt: signed by the secrets in force, posted through the guard for addresses that tenants name."""

from __future__ import annotations

import time
from datetime import UTC
from email.utils import parsedate_to_datetime

from consumer.webhooks.book import Answer
from consumer.webhooks.owed import Owed
from schemas.endpoints import Target
from schemas.envelope import JSON
from schemas.webhooks import signatures
from transport.errors import TransportError
from transport.logs import logger
from transport.outbound import OutboundPolicy, post

__all__ = ["attempt"]

_SHOWN = 200

_log = logger("webhooks")


async def attempt(owed: Owed, target: Target | None, *, policy: OutboundPolicy, timeout_s: float) -> Answer:
    """Post it once. Never raises: whatever keeps it from getting through is an answer."""
    if target is None:
        return Answer(None, "tenants.yaml does not name it any more")
    now_s = int(time.time())
    body = owed.body
    headers = {
        "Content-Type": JSON,
        "User-Agent": "easel-webhooks",
        "webhook-id": owed.id,
        "webhook-timestamp": str(now_s),
        "webhook-signature": signatures(target.secrets, webhook_id=owed.id, timestamp_s=now_s, body=body),
    }
    if owed.traceparent is not None:
        headers["traceparent"] = owed.traceparent
    try:
        posted = await post(target.url, body=body, headers=headers, policy=policy, timeout_s=timeout_s)
    except TransportError as error:
        return Answer(None, str(error))
    except Exception as error:
        # A bug of ours in one tenant's URL must not leave the event with nobody to try it again.
        _log.exception("an attempt failed unforeseen", webhook_id=owed.id)
        return Answer(None, f"it failed unforeseen: {type(error).__name__}")
    head = posted.head.decode("utf-8", "replace")[:_SHOWN]
    said = f"the status {posted.status}" + (f", {head!r}" if head.strip() else "")
    return Answer(posted.status, said, asked_s=_seconds(posted.headers.get("retry-after"), now_s))


def _seconds(header: str | None, now_s: int) -> float | None:
    """``Retry-After`` (RFC 9110, 10.2.3): seconds, or a date."""
    if header is None:
        return None
    if header.strip().isdecimal():
        return float(header.strip()[:9])
    try:
        when = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return None
    return max(0.0, (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - now_s)
