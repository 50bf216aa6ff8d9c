"""A PostgreSQL server of its own for a test: Debian's, or any other that is installed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from ops.local.ports import free_port

_START_LIMIT_S = 60.0


@contextmanager
def postgres() -> Iterator[tuple[str, Path]]:
    """The URL of a fresh, empty server, and where its programs are. Skips where PostgreSQL is not installed."""
    programs = _programs()
    # Not under pytest's own folder, which nobody but this user may enter.
    folder = Path(tempfile.mkdtemp(prefix="easel-postgres-"))
    try:
        user = _user(folder)
        data, port = folder / "data", free_port()
        initdb: list[str | Path] = [
            programs / "initdb",
            "-D",
            data,
            "-U",
            "easel",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
        ]
        subprocess.run(initdb, check=True, capture_output=True, user=user, cwd=folder, timeout=_START_LIMIT_S)
        options = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}", "-c", "fsync=off"]
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, "-p", str(port), *options],
            user=user,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            url = f"postgresql://easel@127.0.0.1:{port}/postgres"
            _wait_until_ready(url)
            yield url, programs
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    on_path = shutil.which("initdb")
    found = [Path(on_path).parent] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        pytest.skip("PostgreSQL not on this machine: `apt-get install postgresql` to test this example")
    return found[-1]


def _user(folder: Path) -> int | None:
    """Who runs the server: it refuses to run as root. Whoever it is owns the folder."""
    if os.getuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody").pw_uid
    os.chown(folder, nobody, -1)
    return nobody


def _wait_until_ready(url: str) -> None:
    ends = time.monotonic() + _START_LIMIT_S
    while True:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            assert time.monotonic() < ends, "PostgreSQL did not start"
            time.sleep(0.1)
        else:
            return
