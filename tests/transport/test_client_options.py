"""What the settings make of a client."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from schemas.connection import KafkaSettings
from transport.errors import Misconfigured
from transport.kafka import client_options


def _certificate(directory: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = directory / "cert.pem", directory / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_file, key_file


def test_plaintext_needs_neither_certificates_nor_a_user() -> None:
    assert client_options(KafkaSettings(bootstrap_servers="a:1,b:2", request_timeout_ms=4_000)) == {
        "bootstrap_servers": "a:1,b:2",
        "request_timeout_ms": 4_000,
        "security_protocol": "PLAINTEXT",
    }


def test_sasl_ssl_signs_in_and_trusts_only_the_given_authority(tmp_path: Path) -> None:
    ca_file, _ = _certificate(tmp_path)
    options = client_options(
        KafkaSettings(
            security_protocol="SASL_SSL",
            sasl_mechanism="SCRAM-SHA-512",
            username="easel",
            password=SecretStr("hush"),
            ca_file=ca_file,
        )
    )
    context = options.pop("ssl_context")
    assert isinstance(context, ssl.SSLContext)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert len(context.get_ca_certs()) == 1
    assert options == {
        "bootstrap_servers": "127.0.0.1:9092",
        "request_timeout_ms": 5_000,
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "easel",
        "sasl_plain_password": "hush",
    }


def test_sasl_without_tls_has_no_certificates() -> None:
    options = client_options(
        KafkaSettings(security_protocol="SASL_PLAINTEXT", sasl_mechanism="PLAIN", username="u", password=SecretStr("p"))
    )
    assert "ssl_context" not in options
    assert options["sasl_mechanism"] == "PLAIN"


def test_mutual_tls_loads_the_clients_certificate_without_a_user(tmp_path: Path) -> None:
    cert_file, key_file = _certificate(tmp_path)
    options = client_options(
        KafkaSettings(security_protocol="SSL", ca_file=cert_file, cert_file=cert_file, key_file=key_file)
    )
    assert isinstance(options["ssl_context"], ssl.SSLContext)
    assert "sasl_plain_username" not in options


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    missing, broken = tmp_path / "missing.pem", tmp_path / "broken.pem"
    broken.write_text("this is no certificate")
    with pytest.raises(Misconfigured, match=r"missing\.pem"):
        client_options(KafkaSettings(security_protocol="SSL", ca_file=missing))
    with pytest.raises(Misconfigured, match=r"broken\.pem"):
        client_options(KafkaSettings(security_protocol="SSL", cert_file=broken))
