"""A certificate authority of one data directory: its servers prove who they are, and so may clients.

Its key never leaves the directory, and no certificate names anything but the loopback interface.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["Authority", "Identity", "write_secret"]

_AUTHORITY_DAYS = 3650
_LEAF_DAYS = 397


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate and its private key, each a PEM file; the key is its owner's alone."""

    cert_file: Path
    key_file: Path

    def joined(self, path: Path) -> Path:
        """Both in one file, as Kafka's PEM key stores have them."""
        write_secret(path, self.key_file.read_text() + self.cert_file.read_text())
        return path


class Authority:
    """Signs for ``directory``, in which all files of it lie; made at the first use."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.cert_file = directory / "ca.pem"
        """What a client has to trust."""
        key_file = directory / "ca.key"
        if not key_file.exists():
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._make(key_file)
        key = load_pem_private_key(key_file.read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{key_file} holds another kind of key than was made there: remove {directory}")
        self._key = key
        self._certificate = x509.load_pem_x509_certificate(self.cert_file.read_bytes())

    def issue(self, name: str) -> Identity:
        """A new key and certificate for ``name``, good for a server on 127.0.0.1 and as a client, for a year.

        Replaces the one that was issued before; that one stays valid until it expires.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName(
            [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        )
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        certificate = (
            _builder(name, self._certificate.subject, key.public_key(), _LEAF_DAYS)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(names, critical=False)
            .add_extension(usage, critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        identity = Identity(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        write_secret(identity.key_file, _private_pem(key))
        identity.cert_file.write_bytes(certificate.public_bytes(Encoding.PEM))
        return identity

    def _make(self, key_file: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "easel on this machine")])
        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        certificate = (
            _builder("easel on this machine", subject, key.public_key(), _AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        self.cert_file.write_bytes(certificate.public_bytes(Encoding.PEM))
        write_secret(key_file, _private_pem(key))


def write_secret(path: Path, text: str) -> None:
    """Write, or replace, a file that only its owner may read at any moment."""
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    part.replace(path)


def _builder(name: str, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, days: int) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        # Clocks differ.
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
    )


def _private_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
