"""Webhooks: which events they are about, what a request may say of its own, and how a delivery is signed.

Signatures follow Standard Webhooks 1.0 (standardwebhooks.com): HMAC-SHA256 over ``id.timestamp.body``, by each of the
endpoint's secrets, so that a receiver may know the old one or the new one while they are exchanged.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

__all__ = [
    "DEFAULT_EVENTS",
    "WEBHOOK",
    "Events",
    "RequestWebhook",
    "Url",
    "WebhookEvent",
    "host_of",
    "name_of_type",
    "signatures",
]

WebhookEvent = Literal[
    "accepted",
    "duplicate",
    "rejected",
    "priced",
    "succeeded",
    "failed",
    "canceled",
    "cancel_accepted",
    "cancel_refused",
    "deleted",
    "delete_refused",
]
"""The events on the results topics, each by the middle of its type: ``easel.generation.succeeded.v1``."""

WEBHOOK = "webhook"
"""The attribute (``ce_webhook``) in which a result carries its request's own webhook, as JSON."""

DEFAULT_EVENTS: tuple[WebhookEvent, ...] = ("succeeded", "failed", "canceled")

# Strict, so that no two programs read another host in it: no user, no backslash, no literal IPv6 address.
Url = Annotated[str, StringConstraints(pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[!-~]*)?$", max_length=2_048)]
Events = Annotated[tuple[WebhookEvent, ...], Field(min_length=1)]

_TYPE = re.compile(r"easel\.generation\.(\w+)\.v\d+")


class RequestWebhook(BaseModel):
    """A request's own webhook: what becomes of this request is posted there too."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Url
    """``https`` and a host that the tenant's entry allows; printable ASCII."""
    events: Events = DEFAULT_EVENTS
    """Of an accepted request: ``accepted`` and how it ended. What was refused was never admitted, and posts nothing."""


def name_of_type(event_type: str) -> str | None:
    """The name by which ``events`` knows a ``ce_type``; None if it is not an event about a generation."""
    match = _TYPE.fullmatch(event_type)
    return match[1] if match else None


def host_of(url: str) -> str:
    """The host that a URL names, in lower case."""
    return (urlsplit(url).hostname or "").lower()


def signatures(keys: Sequence[bytes], *, webhook_id: str, timestamp_s: int, body: bytes) -> str:
    """The header ``webhook-signature``: one signature for each secret, with a space between them."""
    signed = b".".join((webhook_id.encode(), str(timestamp_s).encode(), body))
    return " ".join("v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in keys)
