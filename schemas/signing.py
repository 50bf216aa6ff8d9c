"""Signatures of request events: a JWT in the header ``ce_signature`` that binds publisher, tenant, type, id and body.

One algorithm a key, as the key's own entry says: what the token's header claims is only compared, never obeyed (RFC
8725). Expiry is held against the broker's append time, so that a backlog expires nothing and a late replay gains
nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from schemas.errors import Code, EaselError, ErrorType
from schemas.jws import Compact, decoded, encoded, prepared_key, signed, verifies

__all__ = [
    "ALGORITHMS",
    "IDEMPOTENCY_KEY",
    "MAX_LIFETIME_S",
    "MAX_SKEW_S",
    "Algorithm",
    "KeyEntry",
    "Signer",
    "Verified",
    "read_signing_key",
    "verify",
]

Algorithm = Literal["EdDSA", "ES256", "RS256", "HS256"]
ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)

TOKEN_TYPE = "easel-request+jwt"  # noqa: S105 - a media type
MAX_LIFETIME_S = 24 * 60 * 60
MAX_SKEW_S = 60
"""How far a publisher's clock may run ahead of the broker's."""

MIN_SECRET_BYTES = 32

IDEMPOTENCY_KEY = "idempotencykey"
"""The claim, and the CloudEvents extension, that hold an idempotency key: both or neither, and the same."""

_CALLER = "act"
"""The claim for who acts behind the issuer (RFC 8693, 4.1): ``{"sub": name}``."""

_KID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_CALLER_NAME = re.compile(r"[!-~]{1,128}")
_TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_REQUIRED = ("iss", "sub", "aud", "type", "iat", "exp", "jti", "body_sha256")


@dataclass(frozen=True)
class KeyEntry:
    """A key that may verify: its one algorithm, whose it is, and the tenants that it may speak for (None: all)."""

    kid: str
    algorithm: Algorithm
    issuer: str
    tenants: frozenset[str] | None
    material: Any = field(repr=False)
    """A public key object, or the bytes of a shared secret."""

    @cached_property
    def key(self) -> Any:
        """The key as the algorithm takes it."""
        return prepared_key(self.algorithm, self.material)


@dataclass(frozen=True, slots=True)
class Verified:
    """Who asked, on whose behalf."""

    tenant: str
    issuer: str
    kid: str
    caller: str | None = None
    """Whom the issuer names as the one who acts: for the HTTP shim, the id of an API key."""


@dataclass(frozen=True)
class Signer:
    """Signs requests of one publisher with one private key."""

    kid: str
    algorithm: Algorithm
    key: Any = field(repr=False)
    """A private key (PEM text or object), or the bytes of a shared secret of at least 32 bytes."""
    issuer: str
    audience: str
    """The name of the installation that the requests are for."""
    lifetime_s: int = 3600

    def sign(
        self,
        *,
        tenant: str,
        event_type: str,
        event_id: str,
        body: bytes,
        now_s: float,
        idempotency_key: str | None = None,
        caller: str | None = None,
    ) -> str:
        """The token for an event with this type, id and body, and with this key in ``ce_idempotencykey``.

        ``caller``: the name of the one on whose word an issuer signs; it goes into the audit.
        """
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "sub": tenant,
            "aud": self.audience,
            "type": event_type,
            "iat": int(now_s),
            "exp": int(now_s) + self.lifetime_s,
            "jti": event_id,
            "body_sha256": hashlib.sha256(body).hexdigest(),
        }
        if idempotency_key is not None:
            claims[IDEMPOTENCY_KEY] = idempotency_key
        if caller is not None:
            claims[_CALLER] = {"sub": caller}
        return signed(self._header, claims, self.algorithm, self._prepared)

    @cached_property
    def _header(self) -> bytes:
        return encoded({"alg": self.algorithm, "kid": self.kid, "typ": TOKEN_TYPE})

    @cached_property
    def _prepared(self) -> Any:
        return prepared_key(self.algorithm, self.key)


def verify(
    token: str | None,
    *,
    keys: Mapping[str, KeyEntry],
    audience: str,
    event_type: str,
    event_id: str,
    body: bytes,
    appended_ms: int,
    idempotency_key: str | None = None,
) -> Verified:
    """Who signed this event. Raises ``EaselError`` with the code of the first check that fails."""
    if not token:
        raise _refused(Code.SIGNATURE_MISSING, "the header ce_signature is missing: sign the request")
    compact, entry = _read(token, keys)
    if not verifies(compact, entry.algorithm, entry.key):
        raise _refused(Code.SIGNATURE_INVALID, f"the signature does not verify with key {entry.kid!r}")
    try:
        claims = decoded(compact.claims)
    except ValueError:
        raise _malformed() from None
    for name in _REQUIRED:
        if claims.get(name) is None:
            raise _refused(Code.CLAIMS_INVALID, f"the claim {name!r} is missing", name)

    _require_claim(claims, "iss", entry.issuer)
    # A list of one is what some libraries write for it.
    if claims["aud"] != [audience]:
        _require_claim(claims, "aud", audience)
    _require_claim(claims, "type", event_type)
    _require_claim(claims, "jti", event_id)
    if claims["body_sha256"] != hashlib.sha256(body).hexdigest():
        raise _refused(Code.BODY_MISMATCH, "the claim body_sha256 is not the hash of the event's data", "body_sha256")
    if claims.get(IDEMPOTENCY_KEY) != idempotency_key:
        # Neither may decide alone: a header that nobody signed could make one request pass for another.
        raise _refused(
            Code.CLAIMS_INVALID,
            f"the claim {IDEMPOTENCY_KEY!r} is not the header ce_{IDEMPOTENCY_KEY}",
            IDEMPOTENCY_KEY,
        )
    _require_times(claims, appended_ms)
    tenant = claims["sub"]
    if not isinstance(tenant, str) or not _TENANT.fullmatch(tenant):
        raise _refused(Code.CLAIMS_INVALID, "the claim 'sub' is not the name of a tenant", "sub")
    if entry.tenants is not None and tenant not in entry.tenants:
        raise _refused(Code.TENANT_NOT_ALLOWED, f"key {entry.kid!r} may not speak for this tenant", "sub")
    return Verified(tenant=tenant, issuer=entry.issuer, kid=entry.kid, caller=_caller(claims))


def _read(token: str, keys: Mapping[str, KeyEntry]) -> tuple[Compact, KeyEntry]:
    """The token, and the key that its header names."""
    try:
        compact = Compact.read(token)
    except ValueError:
        raise _malformed() from None
    header = compact.header
    if header.get("typ") != TOKEN_TYPE:
        raise _refused(Code.SIGNATURE_MALFORMED, f"the token's typ is not {TOKEN_TYPE!r}", "typ")
    if "crit" in header or "b64" in header:
        raise _refused(Code.SIGNATURE_MALFORMED, "the token's header asks for extensions (crit, b64)", "crit")
    kid = header.get("kid")
    if not isinstance(kid, str) or not _KID.fullmatch(kid):
        raise _refused(Code.KEY_UNKNOWN, "the token's header names no key (kid)", "kid")
    entry = keys.get(kid)
    if entry is None:
        raise _refused(Code.KEY_UNKNOWN, f"no key {kid!r} is known here, or it was withdrawn", "kid")
    if header.get("alg") != entry.algorithm:
        raise _refused(Code.ALGORITHM_MISMATCH, f"key {kid!r} signs with {entry.algorithm} alone", "alg")
    return compact, entry


def _malformed() -> EaselError:
    return _refused(Code.SIGNATURE_MALFORMED, "the token in ce_signature can't be read as a signed JWT")


def _require_claim(claims: Mapping[str, Any], name: str, expected: str) -> None:
    if claims[name] != expected:
        raise _refused(
            Code.CLAIMS_INVALID, f"the claim {name!r} differs from the event or the key: {expected!r} is right", name
        )


def _caller(claims: Mapping[str, Any]) -> str | None:
    act = claims.get(_CALLER)
    name = act.get("sub") if isinstance(act, dict) else None
    # Nothing is decided by it: what does not fit into the audit is no reason to refuse.
    return name if isinstance(name, str) and _CALLER_NAME.fullmatch(name) else None


def _require_times(claims: Mapping[str, Any], appended_ms: int) -> None:
    issued, expires = claims["iat"], claims["exp"]
    for name, value in (("iat", issued), ("exp", expires)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
            raise _refused(Code.CLAIMS_INVALID, f"the claim {name!r} is not a time in seconds", name)
    if issued * 1000 > appended_ms + MAX_SKEW_S * 1000:
        raise _refused(Code.TOKEN_NOT_YET_VALID, "the token was issued in the future: set the publisher's clock", "iat")
    if not 0 < expires - issued <= MAX_LIFETIME_S:
        raise _refused(Code.TOKEN_LIFETIME, f"a token may live at most {MAX_LIFETIME_S} s, and must live", "exp")
    if expires * 1000 <= appended_ms:
        raise _refused(Code.TOKEN_EXPIRED, "the token had expired when the broker received the event", "exp")


def _refused(code: Code, message: str, param: str | None = "ce_signature") -> EaselError:
    return EaselError(code, message, param=param, type=ErrorType.AUTHENTICATION)


def read_signing_key(text: str) -> tuple[Algorithm, Any]:
    """The algorithm and the key in ``text``: a private key in PEM form, or a shared secret of at least 32 bytes.

    Raises ``ValueError`` without repeating any of the text.
    """
    if "-----BEGIN" not in text:
        secret = text.strip().encode()
        if len(secret) < MIN_SECRET_BYTES:
            raise ValueError(f"a shared secret needs at least {MIN_SECRET_BYTES} bytes: `easel keys new` makes one")
        return "HS256", secret
    try:
        key = load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("the signing key is not an unencrypted private key in PEM form") from None
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "EdDSA", key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return "ES256", key
    if isinstance(key, rsa.RSAPrivateKey):
        return "RS256", key
    raise ValueError("the signing key is of a kind that easel does not take: use Ed25519, P-256 or RSA")
