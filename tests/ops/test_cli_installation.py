"""Which installation a command speaks to."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ops.cli.devfiles import DEV_TENANTS, environment, make_tenants, sdk_environment
from ops.cli.installation import adopt, read_env, settings, signer_of, write_env
from ops.cli.terminal import CommandError
from ops.local.stack import Endpoints
from producer_api.sdk.config import ClientConfig
from schemas.tenants import load_tenants

ENDPOINTS = Endpoints("127.0.0.1:1", "127.0.0.1:2", "store-user", "store-secret-of-this-test")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory with the files of `easel up`, and an environment that names nothing of easel."""
    monkeypatch.setattr(os, "environ", {k: v for k, v in os.environ.items() if not k.startswith("EASEL_")})
    monkeypatch.chdir(tmp_path)
    data = tmp_path / ".easel"
    make_tenants(data, DEV_TENANTS)
    variables = environment(data, ENDPOINTS, models=Path("models.yaml"), kept={}, partitions=4)
    write_env(data / "env", {**variables, **sdk_environment(data, DEV_TENANTS[0])})
    return data


def test_the_local_stack_is_found(folder: Path) -> None:
    found = settings()
    assert (found.kafka.bootstrap_servers, found.store.endpoint) == (ENDPOINTS.kafka, ENDPOINTS.store)
    assert found.store.secret_key is not None
    assert found.store.secret_key.get_secret_value() == ENDPOINTS.store_secret_key
    assert load_tenants(found.tenants).keys[found.api.signing_kid].issuer == found.api.issuer
    assert ENDPOINTS.store_secret_key not in (folder / "env").read_text()


def test_an_environment_with_a_broker_of_its_own_is_left_alone(folder: Path) -> None:
    os.environ["EASEL_KAFKA_BOOTSTRAP_SERVERS"] = "elsewhere:9092"
    before = dict(os.environ)
    assert adopt() is None
    assert dict(os.environ) == before


def test_a_variable_that_is_set_wins_over_the_file(folder: Path) -> None:
    os.environ["EASEL_API_PORT"] = "18080"
    assert settings().api.port == 18080


def test_the_sdk_finds_its_way_by_the_same_variables(folder: Path) -> None:
    config = ClientConfig.from_env(read_env(folder / "env"))
    assert config.tenant == DEV_TENANTS[0].id
    assert config.signer.kid in load_tenants(folder / "tenants.yaml").keys


def test_each_tenant_signs_with_its_own_key(folder: Path) -> None:
    found = settings()
    assert signer_of("atelier", found, key_file=None, kid=None).kid == "atelier-1"
    assert signer_of("bureau", found, key_file=None, kid=None).algorithm == "ES256"
    with pytest.raises(CommandError, match="no private key of the tenant 'canvas'"):
        signer_of("canvas", found, key_file=None, kid=None)
    with pytest.raises(CommandError, match="there is no tenant 'nobody'"):
        signer_of("nobody", found, key_file=None, kid=None)


def test_tenants_and_ports_are_kept_the_next_time(folder: Path) -> None:
    before = (folder / "tenants.yaml").read_bytes(), read_env(folder / "env")
    make_tenants(folder, DEV_TENANTS)
    kept = {**before[1], "EASEL_API_PORT": "20123"}
    again = environment(folder, ENDPOINTS, models=Path("models.yaml"), kept=kept, partitions=4)
    assert (folder / "tenants.yaml").read_bytes() == before[0]
    assert again["EASEL_API_PORT"] == "20123"


def test_secrets_are_for_their_owner_alone(folder: Path) -> None:
    secrets = [path for path in (folder / "keys").iterdir() if path.suffix != ".pub"]
    assert len(secrets) >= 7
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}


@pytest.mark.parametrize("value", ["plain", "with space", 'quote\'d "both"', "$HOME `x` #no", ""])
def test_an_env_file_says_what_was_written(tmp_path: Path, value: str) -> None:
    write_env(tmp_path / "env", {"EASEL_A": value, "EASEL_B": "b"})
    assert read_env(tmp_path / "env") == {"EASEL_A": value, "EASEL_B": "b"}
