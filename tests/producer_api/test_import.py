"""What a publisher installs is light: the SDK imports nothing that only a service needs."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {
    "torch", "fastapi", "starlette", "uvicorn", "minio", "yaml", "pydantic_settings", "prometheus_client", "structlog",
    "typer", "rich", "httpx", "sqlite3", "aiohttp",
}  # fmt: skip

PRINT_MODULES = (
    "import sys; from producer_api import Client; print(*sorted({name.split('.')[0] for name in sys.modules}))"
)
# CPU time of the import alone: the wall clock of a shared machine measures its neighbours.
PRINT_SECONDS = (
    "import time; began = time.process_time(); from producer_api import Client; print(time.process_time() - began)"
)


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_the_sdk_pulls_in_nothing_of_the_services() -> None:
    loaded = set(python(PRINT_MODULES).split())
    assert "aiokafka" in loaded, "the SDK was not imported: this test looks in the wrong place"
    assert loaded & HEAVY == set()


def test_the_sdk_is_imported_in_under_0_3_seconds() -> None:
    assert min(float(python(PRINT_SECONDS)) for _ in range(3)) < 0.3
