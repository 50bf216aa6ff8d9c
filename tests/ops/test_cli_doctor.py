"""`easel doctor` names what is wrong, and is content when nothing is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ops.cli.devfiles import DEV_TENANTS, make_tenants
from ops.cli.terminal import ExitCode
from ops.local.ports import free_port
from schemas.settings import Settings
from tests.consumer.generation.harness import environment
from tests.ops.cli_process import REPOSITORY, Ended, easel


def checks(ended: Ended) -> dict[str, dict[str, Any]]:
    """By name; of several with one name the worst."""
    ranks = ("ok", "warning", "wrong")
    found = sorted(json.loads(ended.out), key=lambda check: ranks.index(check["state"]))
    return {check["name"]: check for check in found}


@pytest.fixture
def variables(tmp_path: Path, settings: Settings) -> dict[str, str]:
    """An installation on the session's broker and store; its topics are not made."""
    make_tenants(tmp_path / ".easel", DEV_TENANTS)
    settings = settings.model_copy(update={"models": REPOSITORY / "models.yaml"})
    return {
        **environment(settings, free_port()),
        "EASEL_TENANTS": str(tmp_path / ".easel" / "tenants.yaml"),
        "EASEL_API_SIGNING_KEY_FILE": str(tmp_path / ".easel" / "keys" / "easel-api-1.key"),
        "EASEL_GENERATION_ENGINE": "null",
    }


def test_in_an_empty_folder(tmp_path: Path) -> None:
    nowhere = {"EASEL_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "EASEL_STORE_ENDPOINT": "127.0.0.1:9"}
    ended = easel("doctor", "--json", cwd=tmp_path, variables=nowhere)
    found = checks(ended)
    assert ended.code == ExitCode.FAILED
    assert {name for name, check in found.items() if check["state"] == "wrong"} == {
        "tenants",
        "models",
        "kafka",
        "store",
    }
    assert all(check["remedy"] for check in found.values() if check["state"] != "ok")


def test_topics_first_missing_then_there(tmp_path: Path, variables: dict[str, str]) -> None:
    before = checks(easel("doctor", "--json", cwd=tmp_path, variables=variables))
    assert (before["topics"]["state"], before["kafka"]["state"]) == ("wrong", "ok")
    assert "easel topics" in before["topics"]["remedy"]
    assert easel("topics", "--check", cwd=tmp_path, variables=variables).code == ExitCode.FAILED
    made = easel("topics", cwd=tmp_path, variables=variables)
    assert made.code == 0, made.err
    assert easel("topics", "--check", cwd=tmp_path, variables=variables).code == ExitCode.OK
    ended = easel("doctor", "--json", cwd=tmp_path, variables=variables)
    assert (ended.code, ended.err) == (0, "")
    assert {check["state"] for check in checks(ended).values()} <= {"ok", "warning"}


def test_keys_that_others_may_read_and_keys_that_differ(tmp_path: Path, variables: dict[str, str]) -> None:
    keys = tmp_path / ".easel" / "keys"
    (keys / "atelier-1.key").chmod(0o644)
    variables["EASEL_API_SIGNING_KEY_FILE"] = str(keys / "bureau-1.key")
    ended = easel("doctor", "--json", cwd=tmp_path, variables=variables)
    found = checks(ended)
    assert ended.code == ExitCode.FAILED
    assert "chmod 600" in found["keys"]["remedy"]
    assert "signs with ES256" in found["api key"]["detail"]
    assert (keys / "bureau-1.key").read_text() not in ended.out


def test_a_bucket_that_is_not_there(tmp_path: Path, variables: dict[str, str]) -> None:
    variables["EASEL_STORE_BUCKET"] = "no-such-bucket"
    found = checks(easel("doctor", "--json", cwd=tmp_path, variables=variables))
    assert found["store"]["state"] == "wrong"
