"""Events that a tenant of the installation has signed, by hand: JWT libraries refuse to make most of these."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass, field
from typing import Any, Literal

from ops.hostile.draws import Draws, uuid7
from schemas.requests import GenerationRequest
from schemas.signing import TOKEN_TYPE

__all__ = ["Fate", "Forger", "Raw", "RawHeaders"]

Fate = Literal["dead", "answered", "either"]
"""What must become of it: a dead letter, an answer to its tenant, or one of the two."""

RawHeaders = list[tuple[bytes, bytes | None]]


@dataclass(slots=True)
class Raw:
    """A record as it is written: names of headers are bytes too."""

    kind: str
    fate: Fate
    key: bytes | None
    value: bytes | None
    headers: RawHeaders = field(default_factory=list)
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class Forger:
    """Signs for a tenant whatever it is told to."""

    tenant: str
    kid: str
    secret: bytes = field(repr=False)
    audience: str

    def token(
        self, body: bytes, event_id: str, event_type: str, *, header: dict[str, Any], claims: dict[str, Any]
    ) -> str:
        """With the right header and claims, but for these; ``...`` leaves one out."""
        now = int(time.time())
        right = {
            "iss": self.tenant,
            "sub": self.tenant,
            "aud": self.audience,
            "type": event_type,
            "iat": now,
            "exp": now + 3600,
            "jti": event_id,
            "body_sha256": hashlib.sha256(body).hexdigest(),
        }
        return self.sealed(
            json.dumps(_changed({"alg": "HS256", "typ": TOKEN_TYPE, "kid": self.kid}, header)).encode(),
            json.dumps(_changed(right, claims)).encode(),
        )

    def sealed(self, header: bytes, claims: bytes) -> str:
        """A token around these bytes, whatever they are."""
        signed = _base64url(header) + b"." + _base64url(claims)
        return (signed + b"." + _base64url(hmac.digest(self.secret, signed, "sha256"))).decode()

    def event(
        self,
        draws: Draws,
        kind: str,
        body: bytes,
        *,
        fate: Fate = "answered",
        event_id: str | None = None,
        event_type: str = GenerationRequest.TYPE,
        header: dict[str, Any] | None = None,
        claims: dict[str, Any] | None = None,
        more: RawHeaders | None = None,
    ) -> Raw:
        """A whole event, right in every part but those that are given."""
        own = event_id if event_id is not None else uuid7(draws.chance)
        token = self.token(body, own, event_type, header=header or {}, claims=claims or {})
        headers = [*self.headers(own, event_type, token), *(more or [])]
        return Raw(kind, fate, self.tenant.encode(), body, headers, own)

    def headers(self, event_id: str, event_type: str, token: str) -> RawHeaders:
        """The headers of an event."""
        return [
            (b"content-type", b"application/json"),
            (b"ce_specversion", b"1.0"),
            (b"ce_id", event_id.encode("utf-8", "surrogatepass")),
            (b"ce_type", event_type.encode("utf-8", "surrogatepass")),
            (b"ce_source", b"hostile"),
            (b"ce_signature", token.encode()),
        ]


def _changed(right: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**right, **changes}.items() if value is not ...}


def _base64url(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")
