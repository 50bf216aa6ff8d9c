"""Tickets: what a browser shows for the events of one task, as its ``EventSource`` can send no header.

A URL ends up in logs and histories. So an API key is never in one; a ticket is worth nothing after five minutes, nor
for anything but to read these events.
"""

from __future__ import annotations

import hashlib
import hmac
import time

import jwt

from producer_api.services import Services

__all__ = ["TICKET_S", "issue_ticket", "tenant_of_ticket"]

TICKET_S = 300
_ALGORITHM = "HS256"
_PURPOSE = b"easel: tickets for the events of a task"


def issue_ticket(services: Services, tenant: str, task_id: str) -> str:
    """A ticket for the events of a tenant's task. Every instance of the API reads it."""
    claims = {
        "aud": _audience(services, task_id),
        "sub": tenant,
        "exp": int(time.time()) + TICKET_S,
    }
    return jwt.encode(claims, _key(services), algorithm=_ALGORITHM)


def tenant_of_ticket(services: Services, ticket: str, task_id: str) -> str | None:
    """Whose ticket for this task it is; None for one that is forged, too old, for another task, or of nobody here."""
    try:
        claims = jwt.decode(
            ticket,
            _key(services),
            algorithms=[_ALGORITHM],
            audience=_audience(services, task_id),
            options={"require": ["aud", "sub", "exp"], "strict_aud": True},
        )
    except jwt.InvalidTokenError:
        return None
    tenant = str(claims["sub"])
    return None if services.keyring.tenant(tenant) is None else tenant


def _audience(services: Services, task_id: str) -> str:
    return f"{services.settings.installation}/tasks/{task_id}/events"


def _key(services: Services) -> bytes:
    # All instances share the key that they sign requests with; a key of its own is derived from it for each use.
    secret = services.settings.api.signing_key
    return hmac.new(secret.get_secret_value().encode() if secret else b"", _PURPOSE, hashlib.sha256).digest()
