"""Runs the rivals: ``python -m ops.bench.rivals [NUMBER]``. They live in an environment of their own, made once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from ops.bench.stack import fresh_stack
from ops.local.cache import provide
from schemas.connection import KafkaSettings
from schemas.topics import TopicSpec
from transport.topics import ensure_topics

_PACKAGES = ("faststream[kafka]==0.7.8", "celery[redis]==5.7.0")
_HERE = Path(__file__).parent
_PARTITIONS = 4
_ROUNDS = 5
_NUMBER = 3_000
_START_S = 5.0
_LIMIT_S = 330.0


def main() -> None:
    """Measure what can be run here, and end with a line of JSON."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else _NUMBER
    python = provide("rivals-1", _make_environment) / "bin" / "python"
    found = {"faststream_per_s": _faststream(python, number)}
    if shutil.which("redis-server"):
        found["celery_per_s"] = _celery(python, number)
    else:
        sys.stderr.write("Celery was not measured: there is no redis-server on the PATH\n")
    sys.stdout.write(json.dumps({name: round(value) for name, value in found.items()}) + "\n")


def _make_environment(folder: Path) -> None:
    venv.create(folder, with_pip=True)
    subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "--quiet", *_PACKAGES], check=True)


def _faststream(python: Path, number: int) -> float:
    script = str(_HERE / "faststream_hops.py")
    with fresh_stack() as (stack, _):
        bootstrap = stack.up("kafka").kafka
        names = [f"rivals.{name}" for name in ("requests", "jobs", "results")]
        asyncio.run(
            ensure_topics(
                KafkaSettings(bootstrap_servers=bootstrap), [TopicSpec(name, _PARTITIONS, {}) for name in names]
            )
        )
        with _running([str(python), "-P", script, "serve", bootstrap]):
            command = [str(python), "-P", script, "drive", bootstrap, str(number)]
            return median([_rate(command, number) for _ in range(_ROUNDS)])


def _celery(python: Path, number: int) -> float:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = {"CELERY_URL": f"redis://127.0.0.1:{port}/0"}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as ends:
        redis = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", folder, "--save", ""]
        ends.enter_context(_running(redis))
        worker = [str(python), "-m", "celery", "-A", "celery_tasks", "worker", "--loglevel", "WARNING"]
        ends.enter_context(_running(worker, variables))
        command = [str(python), str(_HERE / "celery_tasks.py"), str(number)]
        return median([_rate(command, number, variables) for _ in range(_ROUNDS)])


def _rate(command: Sequence[str], number: int, variables: Mapping[str, str] | None = None) -> float:
    ended = subprocess.run(
        command,
        env={**os.environ, **(variables or {})},
        cwd=_HERE,
        stdout=subprocess.PIPE,
        timeout=_LIMIT_S,
        check=True,
    )
    return number / float(json.loads(ended.stdout.splitlines()[-1])["seconds"])


@contextlib.contextmanager
def _running(command: Sequence[str], variables: Mapping[str, str] | None = None) -> Iterator[None]:
    process = subprocess.Popen(
        command, env={**os.environ, **(variables or {})}, cwd=_HERE, stdout=subprocess.DEVNULL, process_group=0
    )
    try:
        time.sleep(_START_S)
        yield
    finally:
        process.terminate()
        process.wait(30)


if __name__ == "__main__":
    main()
