"""The demo, from its first process to its last."""

from __future__ import annotations

import ast
import io
import json
import signal
from pathlib import Path
from subprocess import PIPE

import pytest
from PIL import Image

from ops.cli.terminal import ExitCode
from ops.demo import plain_client
from ops.demo.plan import REQUESTS
from ops.demo.sheet import Picture, Row, contact_sheet
from tests.ops.cli_process import EASEL, REPOSITORY, clean_environment, easel, processes_with, running, still_running

NULL = {"EASEL_GENERATION_ENGINE": "null"}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    (tmp_path / "models.yaml").write_text((REPOSITORY / "models.yaml").read_text())
    return tmp_path


def png(colour: tuple[int, int, int]) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (96, 96), colour).save(written, "PNG")
    return written.getvalue()


@pytest.mark.system
@pytest.mark.timeout(300)
def test_everything_is_as_it_must_be_and_then_stopped(clone: Path) -> None:
    ended = easel("demo", "--json", cwd=clone, variables=NULL, timeout_s=280)
    assert ended.code == 0, ended.err
    (line,) = ended.out.splitlines()
    numbers = json.loads(line)
    assert numbers.pop("seconds") > 0
    assert numbers == {
        "requests": 24,
        "accepted": 20,
        "rejected": 2,
        "duplicates": 1,
        "dead_lettered": 1,
        "succeeded": 20,
        "failed": 0,
        "images": 27,
        "usage_balanced": True,
    }
    for code in ("rate_limited", "invalid_request", "signature_invalid", "duplicate"):
        assert code in ended.err
    with Image.open(clone / "easel-out" / "demo" / "contact-sheet.png") as sheet:
        assert sheet.width > 9 * 176
    assert len(list((clone / "easel-out" / "demo").rglob("*-*.*"))) == 27 + 1
    assert still_running(processes_with(str(clone))) == []


@pytest.mark.system
@pytest.mark.timeout(300)
def test_ctrl_c_leaves_nothing_running(clone: Path) -> None:
    environment = clean_environment({**NULL, "EASEL_NULL_STEP_S": "0.5"})
    with running(*EASEL, "demo", cwd=clone, env=environment, stdout=PIPE, stderr=PIPE) as demo:
        assert demo.stdout is not None
        assert any("are ready" in line for line in demo.stdout)
        started = processes_with(str(clone))
        demo.send_signal(signal.SIGINT)
        _, err = demo.communicate(timeout=60)
    # Kafka, the store, admission, the worker and the API.
    assert len(started) >= 5
    assert demo.returncode == ExitCode.INTERRUPTED, err
    assert "Traceback" not in err
    assert still_running(started) == []
    assert still_running(processes_with(str(clone))) == []


def test_without_a_model_it_says_what_to_do(clone: Path) -> None:
    ended = easel("demo", cwd=clone)
    assert ended.code == ExitCode.SETUP
    assert "easel model train" in ended.err
    assert not (clone / ".easel").exists()


def test_the_plain_client_knows_nothing_of_easel() -> None:
    path = Path(plain_client.__file__)
    tree = ast.parse(path.read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    ours = {"schemas", "transport", "consumer", "producer_api", "ops", "tests"}
    assert not {name.partition(".")[0] for name in names} & ours
    assert {"aiokafka", "jwt"} <= names


def test_the_plan_holds_each_kind_of_request() -> None:
    assert len(REQUESTS) == 24
    ends = [planned.ends for planned in REQUESTS]
    assert ends.count("succeeded") == 20
    assert sorted(end for end in ends if end != "succeeded") == [
        "duplicate",
        "invalid_request",
        "rate_limited",
        "signature_invalid",
    ]


def test_a_contact_sheet_shows_every_picture() -> None:
    colours = [(200, 30, 30), (30, 160, 60), (40, 60, 210)]
    rows = [Row("one", "a note", (0, 0, 0), [Picture(png(c), "words " * 30) for c in colours[:2]])]
    rows += [Row("two", "", (0, 0, 0), [Picture(png(colours[2]), "")])]
    with Image.open(io.BytesIO(contact_sheet("title", "note", rows))) as sheet:
        found = {colour for _, colour in sheet.convert("RGB").getcolors(sheet.width * sheet.height) or []}
        assert set(colours) <= found
        narrow = sheet.size
    with Image.open(io.BytesIO(contact_sheet("title", "note", []))) as empty:
        assert empty.height < narrow[1]
