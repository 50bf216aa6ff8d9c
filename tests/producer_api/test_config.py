"""Settings of the SDK from the environment: found, or missed by name; never shown when they are secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from producer_api import Client, ConfigurationError
from producer_api.sdk.config import ClientConfig
from tests.producer_api.support import SECRET

ENV = {"EASEL_TENANT": "acme", "EASEL_KID": "acme-1", "EASEL_KEY": SECRET}


def test_everything_comes_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(SECRET + "\n")
    (tmp_path / "password").write_text("hidden\n")
    config = ClientConfig.from_env(
        {
            "EASEL_TENANT": "acme",
            "EASEL_KID": "acme-1",
            "EASEL_KEY_FILE": str(tmp_path / "key"),
            "EASEL_INSTALLATION": "studio",
            "EASEL_KAFKA_BOOTSTRAP_SERVERS": "kafka:9093",
            "EASEL_KAFKA_PREFIX": "studio",
            "EASEL_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "EASEL_KAFKA_USERNAME": "acme",
            "EASEL_KAFKA_PASSWORD_FILE": str(tmp_path / "password"),
            "EASEL_KAFKA_REQUEST_TIMEOUT_MS": "9000",
        }
    )
    assert (config.tenant, config.signer.kid, config.signer.issuer) == ("acme", "acme-1", "acme")
    assert (config.signer.algorithm, config.signer.audience) == ("HS256", "studio")
    assert config.kafka.bootstrap_servers == "kafka:9093"
    assert config.kafka.request_timeout_ms == 9000
    assert config.kafka.password is not None
    assert config.kafka.password.get_secret_value() == "hidden"
    assert SECRET not in repr(config)
    assert "hidden" not in repr(config)


@pytest.mark.parametrize("name", ["EASEL_TENANT", "EASEL_KID", "EASEL_KEY"])
def test_what_is_missing_is_named(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        ClientConfig.from_env({**ENV, name: ""})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EASEL_KAFKA_BOTSTRAP_SERVERS", "kafka:9092"),
        ("EASEL_KAFKA_REQUEST_TIMEOUT_MS", "soon"),
        ("EASEL_KEY_FILE", "/nowhere/at/all"),
    ],
)
def test_what_is_wrong_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        ClientConfig.from_env({**ENV, name: value})


def test_a_key_that_is_too_short_is_not_repeated() -> None:
    with pytest.raises(ConfigurationError) as refused:
        ClientConfig.from_env({**ENV, "EASEL_KEY": "tooshort"})
    assert "acme-1" in str(refused.value)
    assert "tooshort" not in str(refused.value)


def test_a_client_needs_somebody_to_sign_as() -> None:
    with pytest.raises(ConfigurationError, match="signer"):
        Client(tenant="acme")


def test_a_client_takes_a_key_as_text_or_as_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(SECRET)
    for key in (SECRET, tmp_path / "key"):
        assert Client(tenant="acme", key=key, kid="acme-1").tenant == "acme"
