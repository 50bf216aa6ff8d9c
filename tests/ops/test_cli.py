"""What the command says when it is asked for help, used wrongly, or can't do what it was asked."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.main import get_command

from ops.cli.accounts import Account
from ops.cli.app import app
from ops.cli.terminal import ExitCode, print_table
from ops.cli.topics import summed_up
from ops.cli.usage import usage_table
from schemas.json_schema import FILES, json_schema
from schemas.tenants import load_tenants
from tests.ops.cli_process import REPOSITORY, clean_environment, easel

NOBODY = {"EASEL_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "EASEL_STORE_ENDPOINT": "127.0.0.1:9"}


def commands_of(group: Any, prefix: str = "easel") -> Iterator[tuple[str, Any]]:
    """Every command with its full name, those of groups too."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            if command.invoke_without_command:
                yield f"{prefix} {name}", command
            yield from commands_of(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


COMMANDS = dict(commands_of(get_command(app)))


def test_the_commands_that_people_were_promised() -> None:
    promised = [
        "up",
        "down",
        "status",
        "topics",
        "admission",
        "worker",
        "api",
        "all",
        "submit",
        "watch",
        "usage",
        "demo",
        "doctor",
        "version",
    ]
    assert {f"easel {name}" for name in promised} <= COMMANDS.keys()
    assert {"easel keys new", "easel keys api", "easel model score", "easel model train"} <= COMMANDS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_an_example_and_exit_codes(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    assert "130 interrupted" in command.epilog
    assert name in command.epilog or name == "easel version"


def test_help_shows_them(tmp_path: Path) -> None:
    ended = easel("submit", "--help", cwd=tmp_path)
    assert ended.code == 0
    assert "--tenant" in ended.out
    assert "$ easel submit" in ended.out
    assert "\x1b" not in ended.out


@pytest.mark.parametrize("arguments", [("nonsense",), ("submit",), ("topics", "--nonsense"), ("schema", "passwords")])
def test_wrong_usage(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    ended = easel(*arguments, cwd=tmp_path)
    assert ended.code == ExitCode.USAGE
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("arguments", [("usage",), ("watch",), ("topics", "--check")])
def test_a_broker_that_is_not_there(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    tenants = REPOSITORY / "tenants.example.yaml"
    files = {"EASEL_TENANTS": str(tenants), "EASEL_MODELS": str(REPOSITORY / "models.yaml")}
    ended = easel(*arguments, cwd=tmp_path, variables={**NOBODY, **files})
    assert ended.code == ExitCode.UNAVAILABLE, ended.err
    lines = [line for line in ended.err.splitlines() if line.startswith("easel: ")]
    assert len(lines) == 1
    assert "127.0.0.1:9" in lines[0]
    assert "Traceback" not in ended.err


def test_a_wrong_setting_is_named_and_its_value_is_not_told(tmp_path: Path) -> None:
    ended = easel("usage", cwd=tmp_path, variables={**NOBODY, "EASEL_KAFKA_PARTITIONS": "geheim"})
    assert ended.code == ExitCode.SETUP
    assert "EASEL_KAFKA_PARTITIONS" in ended.err
    assert "geheim" not in ended.err


def test_submit_without_a_key_says_where_to_get_one(tmp_path: Path) -> None:
    files = {"EASEL_MODELS": str(REPOSITORY / "models.yaml"), "EASEL_TENANTS": "tenants.yaml"}
    (tmp_path / "tenants.yaml").write_text("version: 1\ntenants: [{id: atelier}]\n")
    ended = easel("submit", "a red circle", "--tenant", "atelier", cwd=tmp_path, variables={**NOBODY, **files})
    assert ended.code == ExitCode.SETUP
    assert "easel keys new" in ended.err


def test_without_the_service_extra_it_says_what_to_install(tmp_path: Path) -> None:
    code = "import sys; sys.modules['typer'] = None; from ops.cli import main; sys.exit(main())"
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == ExitCode.SETUP
    assert "pip install '.[service,local]'" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_version(tmp_path: Path) -> None:
    ended = easel("version", cwd=tmp_path)
    assert (ended.code, easel("--version", cwd=tmp_path).out) == (0, ended.out)
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", ended.out)


@pytest.mark.parametrize("name", FILES)
def test_the_schemas_in_docs_are_current(name: str) -> None:
    written = REPOSITORY / "docs" / "schema" / f"{name}.schema.json"
    current = json.dumps(json_schema(name), indent=2, ensure_ascii=False) + "\n"
    assert written.read_text() == current, f"easel schema {name} > {written.relative_to(REPOSITORY)}"


def test_the_example_files_are_as_their_schemas_say() -> None:
    for name, file in (("models", "models.yaml"), ("tenants", "tenants.example.yaml")):
        text = (REPOSITORY / file).read_text()
        assert f"$schema=docs/schema/{name}.schema.json" in text
        jsonschema.validate(yaml.safe_load(text), json_schema(name))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"version": 1, "tenants": [{"id": "a", "limit": {}}]}, json_schema("tenants"))
    assert len(load_tenants(REPOSITORY / "tenants.example.yaml").tenants) == 3


@pytest.mark.parametrize("arguments", [("submit", "a red circle"), ("topics",), ("all",)])
def test_where_nothing_is_set_up_it_names_the_first_step(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    ended = easel(*arguments, cwd=tmp_path)
    assert ended.code == ExitCode.SETUP
    assert "`easel up`" in ended.err.splitlines()[0]


def test_a_table_is_never_cut_short(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("ops.cli.terminal.out.width", 20)
    account = Account("a-tenant-with-a-long-name", "2026-11-21", 12_345, 1_234_567_890, 1, 2, 3, 4)
    print_table(usage_table([account]))
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["tenant", "period", "requests", "held", "settled", "refunded", "outstanding", "left"]
    assert "1,234,567.890" in row
    assert "a-tenant-with-a-long-name" in row
    assert "…" not in row


def test_topics_that_are_missing_are_one_line() -> None:
    missing = [f"easel.{name} is missing: create it with `easel topics`" for name in ("requests", "results")]
    other = "easel.usage has 1 partitions, not 4: ..."
    assert summed_up([*missing, other]) == [
        "2 topics are missing: run `easel topics` (easel.requests, easel.results)",
        other,
    ]
    assert summed_up(missing[:1]) == missing[:1]
