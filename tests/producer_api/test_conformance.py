"""The API does what its OpenAPI document says: Schemathesis, all checks, call by call and in sequences."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from producer_api.app import create_app
from tests.house import House
from tests.producer_api.support import served, until_ready

EXAMPLES = int(os.environ.get("EASEL_TEST_SCHEMATHESIS_EXAMPLES", "5"))
"""Of each operation; a hundred for a longer look."""


CONFIG = Path(__file__).with_name("schemathesis.toml")


@pytest.fixture
async def http(house: House) -> AsyncIterator[httpx.AsyncClient]:
    # Under the name in the document's examples.
    models = house.settings.models
    models.write_text(models.read_text().replace("nothing:", "easel-tiny:"))
    house.worker()
    async with served(create_app(house.settings)) as http:
        await until_ready(http)
        yield http


@pytest.mark.system
@pytest.mark.timeout(3600)
async def test_schemathesis_finds_nothing(http: httpx.AsyncClient, tmp_path: Path) -> None:
    command = [
        *(
            sys.executable,
            "-m",
            "schemathesis.cli",
            "--config-file",
            str(CONFIG),
            "run",
            f"{http.base_url}/openapi.json",
        ),
        *("--checks", "all", "--phases", "examples,coverage,fuzzing,stateful", "--continue-on-failure"),
        *("--max-examples", str(EXAMPLES), "--generation-deterministic", "--no-color", "--request-timeout", "20"),
        *("--header", "Authorization: Bearer acme", "--suppress-health-check", "all", "--max-response-time", "15"),
    ]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said = (await process.communicate())[0].decode()
    assert process.returncode == 0, said[-20_000:]
    assert re.search(r"[1-9]\d* passed", said), said
