"""Keys in ``tenants.yaml`` that verify requests: what an operator writes, and what is read from where that points."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import BaseModel, ConfigDict, StringConstraints, model_validator

from schemas.jws import prepared_key
from schemas.signing import MIN_SECRET_BYTES, Algorithm
from schemas.yaml_file import ConfigError, Location, locate

__all__ = ["Key", "KeyId", "material_of"]

KeyId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
_SOURCES = ("public_key", "public_key_file", "secret_file", "secret_env")
_KINDS: dict[Algorithm, type] = {
    "EdDSA": ed25519.Ed25519PublicKey,
    "ES256": ec.EllipticCurvePublicKey,
    "RS256": rsa.RSAPublicKey,
}
_MIN_RSA_BITS = 2048


class Key(BaseModel):
    """A key that verifies requests: a public key, inline or in a file; for HS256 a secret, in a file or a variable."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kid: KeyId
    alg: Algorithm
    public_key: str | None = None
    public_key_file: Path | None = None
    secret_file: Path | None = None
    secret_env: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Key:
        allowed = ("secret_file", "secret_env") if self.alg == "HS256" else ("public_key", "public_key_file")
        given = [name for name in _SOURCES if getattr(self, name) is not None]
        if len(given) != 1 or given[0] not in allowed:
            raise ValueError(f"an {self.alg} key needs exactly one of {' or '.join(allowed)}")
        return self


def material_of(key: Key, file: Path, location: Location) -> Any:
    """The key itself. Paths are taken from the folder of the file that names them.

    Raises ``ConfigError`` for one that can't be used, with its place; it repeats nothing of the key.
    """

    def wrong(what: str) -> ConfigError:
        source = next(name for name in _SOURCES if getattr(key, name) is not None)
        return ConfigError(f"{locate(file, (*location, source))}: key {key.kid!r} {what}")

    try:
        if key.secret_env is not None:
            raw = os.environ.get(key.secret_env, "").encode()
        elif key.public_key is not None:
            raw = key.public_key.encode()
        else:
            raw = (file.parent / (key.secret_file or key.public_key_file or "")).read_bytes()
    except OSError as error:
        raise wrong(f"can't be read: {error.filename}: {error.strerror}") from None
    if key.alg == "HS256":
        secret = raw.strip()
        if len(secret) < MIN_SECRET_BYTES:
            raise wrong(f"has fewer than {MIN_SECRET_BYTES} bytes, or none: `easel keys new --alg HS256` makes one")
        try:
            prepared_key(key.alg, secret)
        except jwt.InvalidKeyError:
            raise wrong("is a public key, a certificate or a JWK, and no secret: `easel keys new` makes one") from None
        return secret
    try:
        public = load_pem_public_key(raw)
    except (ValueError, UnsupportedAlgorithm):
        raise wrong("is not a public key in PEM form") from None
    if not isinstance(public, _KINDS[key.alg]):
        raise wrong(f"is not a key for {key.alg}")
    if isinstance(public, rsa.RSAPublicKey) and public.key_size < _MIN_RSA_BITS:
        raise wrong(f"is too short: an RSA key needs at least {_MIN_RSA_BITS} bits")
    if isinstance(public, ec.EllipticCurvePublicKey) and not isinstance(public.curve, ec.SECP256R1):
        raise wrong("is not on the curve P-256, which ES256 needs")
    return public
