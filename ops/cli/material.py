"""Makes keys: those that sign requests, and those for the HTTP API."""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from ops.cli.terminal import CommandError
from schemas.signing import Algorithm

__all__ = ["ApiKeyMaterial", "KeyMaterial", "make_api_key", "make_key", "write_private"]

_RSA_BITS = 3072
_SECRET_BYTES = 48


@dataclass(frozen=True, slots=True)
class KeyMaterial:
    """A key pair in PEM form; for HS256 a shared secret, which has no public half."""

    algorithm: Algorithm
    private: str = field(repr=False)
    public: str | None


@dataclass(frozen=True, slots=True)
class ApiKeyMaterial:
    """A key for the HTTP API, and the hash by which ``tenants.yaml`` knows it."""

    key: str = field(repr=False)
    sha256: str


def make_key(algorithm: Algorithm) -> KeyMaterial:
    """A new key for signing requests."""
    private: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    if algorithm == "HS256":
        return KeyMaterial(algorithm, secrets.token_urlsafe(_SECRET_BYTES) + "\n", None)
    if algorithm == "EdDSA":
        private = ed25519.Ed25519PrivateKey.generate()
    elif algorithm == "ES256":
        private = ec.generate_private_key(ec.SECP256R1())
    else:
        private = rsa.generate_private_key(public_exponent=65_537, key_size=_RSA_BITS)
    return KeyMaterial(
        algorithm,
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
    )


def make_api_key() -> ApiKeyMaterial:
    """A new key for the HTTP API: 256 random bits behind a prefix by which secret scanners can know it."""
    key = "easel_" + secrets.token_urlsafe(32)
    return ApiKeyMaterial(key, hashlib.sha256(key.encode()).hexdigest())


def write_private(path: Path, text: str) -> None:
    """Write a secret that only its owner may read, before its content is there. An existing file is never replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise CommandError(f"{path} exists", "a key is never overwritten; choose another name or folder") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
