"""The examples as their README lists them, and the tools that they need."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from ops.local.cache import cache_dir, provide
from tests.installation import ROOT

EXAMPLES = ROOT / "examples"

_ROW = re.compile(r"^\| \[(\w+)\]\((\S+)\) \|[^|]+\| `([^`]+)` \| `([^`]+)` \|$", re.MULTILINE)
_FETCH_LIMIT_S = 240.0
_DEBIAN = ("kcat", "librdkafka1", "libyajl2")


@dataclass(frozen=True, slots=True)
class Example:
    """A row of the README: the folder, its program, and the two commands."""

    folder: str
    program: Path
    once: str
    run: str

    def copied(self, to: Path) -> Path:
        """The folder's files as a clone has them."""
        made = to / self.folder
        shutil.copytree(EXAMPLES / self.folder, made, ignore=shutil.ignore_patterns("node_modules", "lib", "*.png"))
        return made


def listed() -> list[Example]:
    rows = _ROW.findall((EXAMPLES / "README.md").read_text(encoding="utf-8"))
    return [Example(folder, EXAMPLES / program, once, run) for folder, program, once, run in rows]


def prepare(example: Example, folder: Path, environment: dict[str, str]) -> dict[str, str]:
    """Do in ``folder`` what is done once; returns the environment to run in. Skips where a tool is missing."""
    ours = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
    ours["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{ours['PATH']}"
    if example.folder == "python":
        return ours  # test_its_packages_are_ours
    if example.folder == "shell":
        require("openssl", "curl", "jq")
        return ours if shutil.which("kcat") else {**ours, **_kcat()}
    require(*{"node": ("node", "npm"), "java": ("javac", "mvn"), "go": ("go",)}[example.folder])
    fetch(example.once, folder, ours)
    return ours


def fetch(command: str, folder: Path, environment: dict[str, str]) -> None:
    """Let the language's own tool bring what the example needs."""
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=_FETCH_LIMIT_S
    )
    assert done.returncode == 0, done.stdout + done.stderr


def require(*tools: str) -> None:
    """Skip the test where one of these is not on the PATH."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not on this machine: install it to test this example")


def _kcat() -> dict[str, str]:
    """Debian's package, unpacked into the cache: that needs no root."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        pytest.skip("kcat not on this machine: install it to test this example")
    root = provide("kcat-1", _unpack)
    [library] = root.glob("usr/lib/*/librdkafka.so.1")
    path = f"{root / 'usr/bin'}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "LD_LIBRARY_PATH": str(library.parent)}


def _unpack(staging: Path) -> None:
    with tempfile.TemporaryDirectory(dir=cache_dir()) as apart:
        (Path(apart) / "lists" / "partial").mkdir(parents=True)
        apt = ["apt-get", "-q", "-o", f"Dir::State::lists={apart}/lists", "-o", f"Dir::Cache={apart}"]
        for command in ([*apt, "update"], [*apt, "download", *_DEBIAN]):
            subprocess.run(command, cwd=apart, check=True, capture_output=True, timeout=_FETCH_LIMIT_S)
        for package in Path(apart).glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, staging], check=True, capture_output=True, timeout=60)
