"""Keys that the command makes are keys that the services take."""

from __future__ import annotations

import hashlib
import json
import stat
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from argon2 import PasswordHasher
from standardwebhooks.webhooks import Webhook

from ops.cli.installation import signer_of
from schemas.endpoints import load_endpoints
from schemas.ids import new_id
from schemas.requests import GenerationRequest
from schemas.settings import Settings
from schemas.signing import ALGORITHMS, Algorithm, verify
from schemas.tenants import load_tenants
from schemas.users import load_users
from schemas.webhooks import signatures
from schemas.yaml_file import ConfigError
from tests.ops.cli_process import easel


def tenants_file(folder: Path, **tenant: Any) -> Path:
    path = folder / "tenants.yaml"
    path.write_text(yaml.safe_dump({"version": 1, "tenants": [{"id": "atelier", **tenant}]}))
    return path


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_new_key_signs_what_its_entry_verifies(tmp_path: Path, algorithm: Algorithm) -> None:
    ended = easel("keys", "new", "--alg", algorithm, "--kid", "atelier-7", "--out", "keys", cwd=tmp_path)
    assert ended.code == 0, ended.err
    private = tmp_path / "keys" / "atelier-7.key"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    secret_lines = [line for line in private.read_text().splitlines() if "-----" not in line]
    assert secret_lines
    assert not any(line in ended.out + ended.err for line in secret_lines)

    directory = load_tenants(tenants_file(tmp_path, keys=yaml.safe_load(ended.out)))
    settings = Settings(tenants=tmp_path / "tenants.yaml")
    signer = signer_of("atelier", settings, key_file=None, kid=None)
    id_, body = new_id(), b"{}"
    token = signer.sign(tenant="atelier", event_type=GenerationRequest.TYPE, event_id=id_, body=body, now_s=time.time())
    verified = verify(
        token,
        keys=directory.keys,
        audience=settings.installation,
        event_type=GenerationRequest.TYPE,
        event_id=id_,
        body=body,
        appended_ms=int(time.time() * 1000),
    )
    assert (verified.tenant, verified.kid) == ("atelier", "atelier-7")


def test_json_says_the_same_for_programs(tmp_path: Path) -> None:
    ended = easel("keys", "new", "--json", cwd=tmp_path)
    made = json.loads(ended.out)
    assert made["alg"] == "EdDSA"
    assert made["entry"]["kid"] == made["kid"]
    assert Path(made["private_key_file"]) == tmp_path / ".easel" / "keys" / f"{made['kid']}.key"
    assert load_tenants(tenants_file(tmp_path, keys=[made["entry"]])).keys[made["kid"]].issuer == "atelier"


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    first = easel("keys", "new", "--kid", "k", cwd=tmp_path)
    kept = (tmp_path / ".easel" / "keys" / "k.key").read_bytes()
    again = easel("keys", "new", "--kid", "k", cwd=tmp_path)
    assert (first.code, again.code) == (0, 1)
    assert "exists" in again.err
    assert again.out == ""
    assert (tmp_path / ".easel" / "keys" / "k.key").read_bytes() == kept


@pytest.mark.parametrize("arguments", [("--kid", "a b"), ("--kid", "../up"), ("--alg", "none")])
def test_names_and_algorithms_that_no_tenant_may_have(tmp_path: Path, arguments: tuple[str, str]) -> None:
    ended = easel("keys", "new", *arguments, cwd=tmp_path)
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1
    assert not list(tmp_path.rglob("*.key"))


def test_an_api_key_is_shown_once_and_known_by_its_hash(tmp_path: Path) -> None:
    ended = easel("keys", "api", "--id", "website", cwd=tmp_path)
    key, _, entry = ended.out.partition("\n\n")
    assert key.startswith("easel_")
    assert len(key) >= 40
    digest = hashlib.sha256(key.encode()).hexdigest()
    assert load_tenants(tenants_file(tmp_path, api_keys=yaml.safe_load(entry))).api_keys == {
        digest: ("atelier", "website")
    }
    assert not list(tmp_path.rglob("*.key"))


class TestUsers:
    def test_the_entry_lets_its_password_in(self, tmp_path: Path) -> None:
        ended = easel(
            "keys",
            "user",
            "anna",
            "--tenant",
            "canvas",
            "--requests-per-minute",
            "6",
            cwd=tmp_path,
            given="a: 's3cret here\n",
        )
        assert ended.code == 0, ended.err
        assert "s3cret here" not in ended.out + ended.err
        path = tmp_path / "users.yaml"
        path.write_text("users:\n" + "".join(f"  {line}\n" for line in ended.out.splitlines()))
        anna = load_users(path)["anna"]
        assert (anna.tenant, anna.requests_per_minute) == ("canvas", 6)
        assert PasswordHasher().verify(anna.password, "a: 's3cret here")

    @pytest.mark.parametrize(
        ("name", "tenant", "given", "said"),
        [
            ("anna", "canvas", "\n", "no password was given"),
            ("an na", "canvas", "secret\n", "user: String should match"),
            ("anna", "Not a tenant", "secret\n", "tenant: String should match"),
        ],
    )
    def test_what_the_file_would_refuse_is_refused(
        self, tmp_path: Path, name: str, tenant: str, given: str, said: str
    ) -> None:
        ended = easel("keys", "user", name, "--tenant", tenant, cwd=tmp_path, given=given)
        assert (ended.code, ended.out) == (2, "")
        assert said in ended.err


def test_a_webhooks_secret_is_one_that_the_official_package_takes(tmp_path: Path) -> None:
    ended = easel("keys", "webhook", "--name", "cms", "--out", "keys", cwd=tmp_path)
    assert ended.code == 0, ended.err
    private = tmp_path / "keys" / "cms.webhook"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    secret = private.read_text().strip()
    assert secret not in ended.out + ended.err
    entry = {"name": "cms", "url": "https://cms.example/", "secrets": yaml.safe_load(ended.out)}
    (key,) = load_endpoints(tenants_file(tmp_path, webhooks=[entry])).named["atelier"]["cms"].secrets
    now, body = datetime.now(tz=UTC), b'{"type":"x"}'
    signed = signatures([key], webhook_id="1", timestamp_s=int(now.timestamp()), body=body)
    assert signed == Webhook(secret).sign("1", now, body.decode())
    again = easel("keys", "webhook", "--name", "cms", "--out", "keys", cwd=tmp_path)
    assert again.code != 0 and "never overwritten" in again.err


@pytest.mark.parametrize("content", ["", "whsec_", "whsec_c2hvcnQ=", "c" * 44, "whsec_%%%%"])
def test_what_is_no_secret_of_a_webhook_is_an_error_of_the_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "cms.webhook").write_text(content)
    entry = {"name": "cms", "url": "https://cms.example/", "secrets": [{"secret_file": "cms.webhook"}]}
    with pytest.raises(ConfigError, match=r"tenants\.0\.webhooks\.0\.secrets\.0\.secret_file.*easel keys webhook"):
        load_endpoints(tenants_file(tmp_path, webhooks=[entry]))
