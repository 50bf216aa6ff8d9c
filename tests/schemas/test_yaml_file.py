"""Reading a file that people write, and noticing that it changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from schemas.yaml_file import ConfigError, LiveFile, read_yaml


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    number: int


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")
    parts: list[Inner]


def problem(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_yaml(path, Shape)
    return str(caught.value).replace(f"{path.parent}/", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("parts:\n  - number: [\n", "f.yaml:3: is not YAML:"),
        ("parts: {\n", "f.yaml:2: is not YAML:"),
        ("a: b: c\n", "f.yaml:1: is not YAML:"),
        ("\tparts: 1\n", "f.yaml:1: is not YAML:"),
        ("parts: !!python/object/apply:os.system ['true']\n", "f.yaml:1: is not YAML:"),
        ("parts: 2026-13-45\n", "f.yaml: is not YAML:"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2: is not YAML:"),
        ("parts: " + "[" * 5_000 + "\n", "is not YAML:"),
        ("parts:\n  - number: 1\n    number: 2\n", "f.yaml:3: number: stands twice in one place"),
        ("parts:\n  - number: 1\nparts: []\n", "f.yaml:3: parts: stands twice in one place"),
        ("parts:\n  - number: 1\n  - number: x\n", "f.yaml:3: parts.1.number: "),
        ("parts:\n  - number: 1\n  -\n    nmber: 1\n", "f.yaml:4: parts.1.nmber: "),
        ("parts:\n  - number: 1\n  - {}\n", "f.yaml:3: parts.1.number: "),
    ],
)
def test_a_problem_is_told_by_its_line(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "f.yaml").write_text(text)
    assert expected in problem(tmp_path / "f.yaml")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert problem(tmp_path / "f.yaml").startswith("f.yaml: can't be read:")


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_bytes(b"\xff\xfe\x00")
    assert problem(tmp_path / "f.yaml").startswith("f.yaml: can't be read:")


def test_anchors_may_repeat_a_part(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text("parts:\n  - &one {number: 1}\n  - *one\n")
    assert [part.number for part in read_yaml(tmp_path / "f.yaml", Shape).parts] == [1, 1]


class TestLiveFile:
    def test_tells_a_change_once(self, tmp_path: Path) -> None:
        path = tmp_path / "f"
        path.write_text("a")
        live = LiveFile(path)
        assert not live.changed()
        path.write_text("b")
        assert live.changed()
        assert not live.changed()

    def test_compares_content_not_times(self, tmp_path: Path) -> None:
        path = tmp_path / "f"
        path.write_text("a")
        live = LiveFile(path)
        path.touch()
        assert not live.changed()
        before = path.stat()
        path.write_text("b")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert live.changed()

    def test_sees_a_link_that_is_swapped(self, tmp_path: Path) -> None:
        # As Kubernetes updates a mounted ConfigMap.
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "f").write_text(name)
        (tmp_path / "data").symlink_to("one")
        (tmp_path / "f").symlink_to("data/f")
        live = LiveFile(tmp_path / "f")
        (tmp_path / "next").symlink_to("two")
        (tmp_path / "next").replace(tmp_path / "data")
        assert live.changed()

    def test_a_file_that_is_gone_for_a_moment_has_not_changed(self, tmp_path: Path) -> None:
        path = tmp_path / "f"
        path.write_text("a")
        live = LiveFile(path)
        path.unlink()
        assert not live.changed()
        path.write_text("a")
        assert not live.changed()
        path.write_text("b")
        assert live.changed()
