"""One signed event, and the means to damage every part of it."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from schemas.errors import Code, EaselError, ErrorType
from schemas.requests import GenerationRequest
from schemas.signing import ALGORITHMS, Algorithm, KeyEntry, Signer, Verified, verify

KID = "acme-2026"
TENANT = "acme"
INSTALLATION = "easel"
EVENT_ID = "019aa4d2-6c00-7000-8000-000000000001"
BODY = b'{"prompt":"a red circle","model":"easel-tiny"}'
NOW_S = 1_763_712_000
NOW_MS = NOW_S * 1000


def private_key(algorithm: Algorithm, which: int = 0) -> Any:
    """A key of this kind; another one for each ``which``."""
    return _made(algorithm, which)


@cache
def _made(algorithm: Algorithm, which: int) -> Any:
    match algorithm:
        case "EdDSA":
            return ed25519.Ed25519PrivateKey.generate()
        case "ES256":
            return ec.generate_private_key(ec.SECP256R1())
        case "RS256":
            return rsa.generate_private_key(public_exponent=65537, key_size=2048)
        case "HS256":
            return hashlib.sha256(b"secret %d" % which).digest()


def verifying_key(algorithm: Algorithm, which: int = 0) -> Any:
    key = private_key(algorithm, which)
    return key if isinstance(key, bytes) else key.public_key()


def entry(
    algorithm: Algorithm,
    *,
    kid: str = KID,
    issuer: str = TENANT,
    tenants: frozenset[str] | None = frozenset({TENANT}),
    which: int = 0,
) -> KeyEntry:
    return KeyEntry(kid, algorithm, issuer, tenants, verifying_key(algorithm, which))


def signer(algorithm: Algorithm, **changes: Any) -> Signer:
    return replace(
        Signer(kid=KID, algorithm=algorithm, key=private_key(algorithm), issuer=TENANT, audience=INSTALLATION),
        **changes,
    )


def claims(**changes: Any) -> dict[str, Any]:
    """The right claims of the event, but for these. ``...`` leaves one out."""
    right = {
        "iss": TENANT,
        "sub": TENANT,
        "aud": INSTALLATION,
        "type": GenerationRequest.TYPE,
        "iat": NOW_S,
        "exp": NOW_S + 3600,
        "jti": EVENT_ID,
        "body_sha256": hashlib.sha256(BODY).hexdigest(),
        **changes,
    }
    return {name: value for name, value in right.items() if value is not ...}


def segment(content: Any) -> bytes:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def token(
    algorithm: Algorithm = "EdDSA", payload: Any = None, *, key: Any = None, sign_as: str | None = None, **header: Any
) -> str:
    """A token put together by hand: JWT libraries refuse to make most of what must be refused here."""
    head = {"typ": "easel-request+jwt", "alg": algorithm, "kid": KID, **header}
    head = {name: value for name, value in head.items() if value is not ...}
    signed = segment(head) + b"." + segment(claims() if payload is None else payload)
    by = jwt.get_algorithm_by_name(sign_as or algorithm)
    signature = by.sign(signed, by.prepare_key(private_key(algorithm) if key is None else key))
    return (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


@dataclass(frozen=True)
class Case:
    """An event as it arrives, right in every part until a test changes one."""

    token: str | None = field(default_factory=token)
    keys: dict[str, KeyEntry] = field(default_factory=lambda: {KID: entry("EdDSA")})
    audience: str = INSTALLATION
    event_type: str = GenerationRequest.TYPE
    event_id: str = EVENT_ID
    body: bytes = BODY
    appended_ms: int = NOW_MS
    idempotency_key: str | None = None

    def verify(self) -> Verified:
        return verify(
            self.token,
            keys=self.keys,
            audience=self.audience,
            event_type=self.event_type,
            event_id=self.event_id,
            body=self.body,
            appended_ms=self.appended_ms,
            idempotency_key=self.idempotency_key,
        )


def case(algorithm: Algorithm, **changes: Any) -> Case:
    return replace(Case(token=token(algorithm), keys={KID: entry(algorithm)}), **changes)


def code_of(given: Case) -> Code:
    """The code under which it is refused; a test that verifies instead fails here."""
    with pytest.raises(EaselError) as caught:
        given.verify()
    assert caught.value.type is ErrorType.AUTHENTICATION
    return caught.value.code


__all__ = [
    "ALGORITHMS",
    "BODY",
    "EVENT_ID",
    "INSTALLATION",
    "KID",
    "NOW_MS",
    "NOW_S",
    "TENANT",
    "Case",
    "case",
    "claims",
    "code_of",
    "entry",
    "private_key",
    "segment",
    "signer",
    "token",
    "verifying_key",
]
