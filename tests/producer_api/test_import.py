"""What a publisher installs is light: the SDK imports nothing that only a service needs."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HEAVY = {
    "torch", "fastapi", "starlette", "uvicorn", "minio", "yaml", "pydantic_settings", "prometheus_client", "structlog",
    "typer", "rich", "httpx", "sqlite3", "aiohttp",
}  # fmt: skip

PRINT_MODULES = (
    "import sys; from producer_api import Client; print(*sorted({name.split('.')[0] for name in sys.modules}))"
)
COMPILED = tempfile.mkdtemp(prefix="easel-compiled-")
atexit.register(shutil.rmtree, COMPILED, ignore_errors=True)
DEPENDENCIES = "aiokafka, jwt, pydantic, uuid_utils"
# CPU time of the import alone: the wall clock of a shared machine measures its neighbours.
PRINT_SECONDS = "import time; began = time.process_time(); import {}; print(time.process_time() - began)"


def python(code: str) -> str:
    # Compiled once, as where it is installed: else the first import of each process would compile it all.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": COMPILED}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout


def test_the_sdk_pulls_in_nothing_of_the_services() -> None:
    loaded = set(python(PRINT_MODULES).split())
    assert "aiokafka" in loaded, "the SDK was not imported: this test looks in the wrong place"
    assert loaded & HEAVY == set()


def test_what_installing_it_brings_is_little() -> None:
    """Counted from what is installed here: easel, what it requires without extras, and what those do."""
    found: set[str] = set()
    to_see = list(_requirements("easel", ""))
    while to_see:
        name, extra = to_see.pop()
        found.add(name)
        to_see += [one for one in _requirements(name, extra) if one[0] not in found or one[1]]
    assert len(found) <= 15, sorted(found)
    assert {"aiokafka", "cryptography", "pydantic-core"} <= found


def _requirements(name: str, extra: str) -> Iterator[tuple[str, str]]:
    for line in distribution(name).requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            needed = canonicalize_name(requirement.name)
            yield needed, ""
            yield from ((needed, one) for one in requirement.extras)


def test_importing_the_sdk_takes_less_than_a_third_of_a_second() -> None:
    assert min(float(python(PRINT_SECONDS.format("producer_api"))) for _ in range(5)) < 0.3


def test_importing_the_sdk_costs_little_beyond_its_dependencies() -> None:
    """As a ratio, in turn, the best of five: about 0.17 s beside 0.09 s on a quiet machine."""
    seconds: dict[str, list[float]] = {"producer_api": [], DEPENDENCIES: []}
    for _ in range(5):
        for what, measured in seconds.items():
            measured.append(float(python(PRINT_SECONDS.format(what))))
    assert min(seconds["producer_api"]) < 2.5 * min(seconds[DEPENDENCIES])
