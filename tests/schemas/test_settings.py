"""Settings from the environment: names, bounds, and secrets that show nowhere."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import pytest
from pydantic import ValidationError

from schemas.connection import KafkaSettings
from schemas.settings import Settings
from schemas.yaml_file import ConfigError

SECRET = "hunter2-hunter2-hunter2"
SECRETS = ("KAFKA_PASSWORD", "STORE_ACCESS_KEY", "STORE_SECRET_KEY", "API_SIGNING_KEY")


@pytest.fixture(autouse=True)
def _a_clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("EASEL_"):
            monkeypatch.delenv(name)


def secret_of(settings: Settings, name: str) -> str | None:
    section, _, field = name.lower().partition("_")
    value = getattr(getattr(settings, section), field)
    return None if value is None else str(value.get_secret_value())


def test_a_developers_machine_needs_none() -> None:
    settings = Settings()
    assert settings.installation == "easel"
    assert (settings.kafka.bootstrap_servers, settings.store.endpoint) == ("127.0.0.1:9092", "127.0.0.1:9000")
    assert {settings.api.host, settings.admission.health_host, settings.generation.health_host} == {"127.0.0.1"}


def test_sections_and_fields_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "INSTALLATION": "easel-prod",
        "TENANTS": "/etc/easel/tenants.yaml",
        "KAFKA_BOOTSTRAP_SERVERS": "a:1,b:2",
        "KAFKA_REQUEST_TIMEOUT_MS": "9000",
        "KAFKA_CA_FILE": "/etc/ca.pem",
        "ADMISSION_INSTANCE_ID": "admission-0",
        "GENERATION_MAX_POLL_INTERVAL_S": "2.5",
        "API_PORT": "0",
        "STORE_SECURE": "true",
    }.items():
        monkeypatch.setenv(f"EASEL_{name}", value)
    settings = Settings()
    assert settings.installation == "easel-prod"
    assert settings.tenants == Path("/etc/easel/tenants.yaml")
    assert settings.kafka.bootstrap_servers == "a:1,b:2"
    assert settings.kafka.request_timeout_ms == 9000
    assert settings.kafka.ca_file == Path("/etc/ca.pem")
    assert settings.admission.instance_id == "admission-0"
    assert settings.generation.max_poll_interval_s == 2.5
    assert settings.api.port == 0
    assert settings.store.secure is True


def test_a_value_given_in_code_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EASEL_KAFKA_PREFIX", "from-the-environment")
    assert Settings(kafka=KafkaSettings(prefix="from-code")).kafka.prefix == "from-code"


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("KAFKA_BOOTSTRAP_SERVER", "a:1", "kafka.bootstrap_server"),
        ("STORE_ENDPONT", "a:1", "store.endpont"),
        ("ADMISSION_WINDOW", "4", "admission.window"),
        ("GENERATION_POOLS", "x", "generation.pools"),
        ("API_POTR", "1", "api.potr"),
    ],
)
def test_a_misspelt_field_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, field: str) -> None:
    monkeypatch.setenv(f"EASEL_{name}", value)
    with pytest.raises(ValidationError, match=field.replace(".", r"\.")):
        Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("INSTALLATION", "Easel Prod"),
        ("KAFKA_PREFIX", ""),
        ("KAFKA_PREFIX", "a/b"),
        ("KAFKA_PREFIX", "x" * 82),
        ("KAFKA_PARTITIONS", "0"),
        ("KAFKA_REPLICATION", "0"),
        ("KAFKA_REQUEST_TIMEOUT_MS", "999"),
        ("KAFKA_SECURITY_PROTOCOL", "TLS"),
        ("KAFKA_SASL_MECHANISM", "GSSAPI"),
        ("ADMISSION_BATCH_RECORDS", "0"),
        ("ADMISSION_WINDOW_JOBS", "0"),
        ("ADMISSION_HEALTH_PORT", "65536"),
        ("GENERATION_HANG_S", "0"),
        ("GENERATION_DRAIN_S", "-1"),
        ("GENERATION_ENGINE_MEMORY_MIB", "100"),
        ("GENERATION_POOL", "a b"),
        ("API_PORT", "-1"),
        ("STORE_TIMEOUT_S", "0"),
        ("STORE_SECURE", "perhaps"),
    ],
)
def test_bounds(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"EASEL_{name}", value)
    with pytest.raises(ValidationError) as caught:
        Settings()
    section, _, field = name.lower().partition("_")
    assert caught.value.errors()[0]["loc"] in ((section, field), (section,))


@pytest.mark.parametrize("protocol", ["SASL_SSL", "SASL_PLAINTEXT"])
@pytest.mark.parametrize("given", [{}, {"USERNAME": "easel"}, {"PASSWORD": SECRET}])
def test_sasl_needs_a_user_and_a_password(
    monkeypatch: pytest.MonkeyPatch, protocol: str, given: dict[str, str]
) -> None:
    monkeypatch.setenv("EASEL_KAFKA_SECURITY_PROTOCOL", protocol)
    for name, value in given.items():
        monkeypatch.setenv(f"EASEL_KAFKA_{name}", value)
    with pytest.raises(ValidationError, match="needs username and password"):
        Settings()
    monkeypatch.setenv("EASEL_KAFKA_USERNAME", "easel")
    monkeypatch.setenv("EASEL_KAFKA_PASSWORD", SECRET)
    assert Settings().kafka.username == "easel"


class TestSecrets:
    @pytest.mark.parametrize("name", SECRETS)
    def test_from_the_environment(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        monkeypatch.setenv(f"EASEL_{name}", SECRET)
        assert secret_of(Settings(), name) == SECRET

    @pytest.mark.parametrize("name", SECRETS)
    def test_from_a_file_without_its_line_end(self, monkeypatch: pytest.MonkeyPatch, name: str, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text(SECRET + "\n")
        monkeypatch.setenv(f"EASEL_{name}_FILE", str(tmp_path / "secret"))
        assert secret_of(Settings(), name) == SECRET

    def test_beside_other_values_of_their_section(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text(SECRET)
        monkeypatch.setenv("EASEL_KAFKA_PASSWORD_FILE", str(tmp_path / "secret"))
        monkeypatch.setenv("EASEL_KAFKA_USERNAME", "easel")
        monkeypatch.setenv("EASEL_KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
        settings = Settings()
        assert (settings.kafka.username, secret_of(settings, "KAFKA_PASSWORD")) == ("easel", SECRET)

    @pytest.mark.parametrize("name", SECRETS)
    def test_two_sources_are_one_too_many(self, monkeypatch: pytest.MonkeyPatch, name: str, tmp_path: Path) -> None:
        monkeypatch.setenv(f"EASEL_{name}", SECRET)
        monkeypatch.setenv(f"EASEL_{name}_FILE", str(tmp_path / "secret"))
        with pytest.raises(ConfigError, match=f"EASEL_{name} and EASEL_{name}_FILE are both set"):
            Settings()

    @pytest.mark.parametrize("content", [None, b"\xff\xfe"])
    def test_a_file_that_cant_be_read_is_named(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
    ) -> None:
        if content is not None:
            (tmp_path / "secret").write_bytes(content)
        monkeypatch.setenv("EASEL_STORE_SECRET_KEY_FILE", str(tmp_path / "secret"))
        with pytest.raises(ConfigError, match=r"EASEL_STORE_SECRET_KEY_FILE: .*secret can't be read: "):
            Settings()

    def test_show_in_no_repr_and_no_dump(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in SECRETS:
            monkeypatch.setenv(f"EASEL_{name}", SECRET)
        settings = Settings()
        for shown in (
            repr(settings),
            str(settings),
            repr(settings.kafka),
            settings.model_dump_json(),
            f"{settings.api}",
        ):
            assert SECRET not in shown

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("KAFKA_SECURITY_PROTOCOL", "SASL_SSL"),  # the whole section is the input of this error
            ("KAFKA_PASSWORT", SECRET),
            ("STORE_SECRETKEY", SECRET),
            ("API_PORT", SECRET),
            ("KAFKA", SECRET),
            ("INSTALLATION", SECRET.upper()),
        ],
    )
    def test_show_in_no_error(self, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
        for other in SECRETS:
            monkeypatch.setenv(f"EASEL_{other}", SECRET)
        monkeypatch.setenv(f"EASEL_{name}", value)
        with pytest.raises(ValueError, match=r"Settings|kafka") as caught:
            Settings()
        shown = "".join(traceback.format_exception(caught.value)).lower()
        assert SECRET not in shown
