"""A real easel for the tests of your service: Kafka, a store, admission and a worker, on this machine."""

import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

EASEL = Path(os.environ.get("EASEL_CLONE", "easel"))  # a clone of easel, with `make setup` done in it


@pytest.fixture(scope="session")
def easel() -> Iterator[None]:
    command = os.environ.get("EASEL_COMMAND", ".venv/bin/easel").split()
    started = subprocess.run([*command, "up", "--json"], cwd=EASEL, check=True, capture_output=True, text=True)
    # The settings of what was started, and of its first tenant, as the SDK and your service read them.
    lines = Path(json.loads(started.stdout)["env"]).read_text().splitlines()
    os.environ.update(shlex.split(line)[1].split("=", 1) for line in lines if line.startswith("export "))
    subprocess.run([*command, "topics"], cwd=EASEL, check=True)
    # Small real pictures without a model: what is tested is your service.
    services = subprocess.Popen([*command, "all"], cwd=EASEL, env={**os.environ, "EASEL_GENERATION_ENGINE": "null"})
    try:
        yield
    finally:
        services.terminate()
        services.wait(60)
        subprocess.run([*command, "down"], cwd=EASEL, check=True)
