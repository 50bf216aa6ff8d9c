"""The receivers in docs/webhooks.md take what the stage posts, once, and nothing that is forged."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from consumer.webhooks.owed import Owed
from consumer.webhooks.posting import attempt
from ops.local.ports import free_port
from schemas.endpoints import Target
from schemas.settings import OutboundSettings
from schemas.webhook_entries import make_secret
from tests.docs.pages import blocks
from transport.outbound import OutboundPolicy

POLICY = OutboundPolicy.of(OutboundSettings(ports="any", allow="127.0.0.0/8", plain_http=True))
OWED = Owed(
    tenant="atelier",
    endpoint="cms",
    id="5c1a2b76-75c2-5348-8a10-2c5417e3f561",
    type="easel.generation.succeeded.v1",
    source="easel",
    data='{"request_id":"019aa4d2-6c00-7000-8000-000000000001","metadata":{"post":"日本"}}',
    partition=0,
    offset=0,
    appended_ms=0,
    since_ms=0,
    due_ms=0,
    time="2026-11-21T12:00:00.000+00:00",
)


def bytes_of(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix("whsec_"))


@contextmanager
def receiver(name: str, folder: Path, secret: str, port: int) -> Iterator[subprocess.Popen[str]]:
    [block] = [block for block in blocks("docs/webhooks.md") if block.language == name]
    path = folder / ("receiver.py" if block.language == "python" else "receiver.mjs")
    path.write_text(block.text, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable if block.language == "python" else "node", str(path)],
        env={**os.environ, "WEBHOOK_SECRET": secret, "PORT": str(port)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("name", ["python", "javascript"])
async def test_it_takes_what_is_genuine_once(name: str, tmp_path: Path) -> None:
    if name == "javascript" and shutil.which("node") is None:
        pytest.skip("there is no Node here")
    secret, other, port = make_secret(), make_secret(), free_port()

    async def post(*secrets: str) -> int | None:
        target = Target(f"http://127.0.0.1:{port}/", frozenset(), tuple(map(bytes_of, secrets)))
        return (await attempt(OWED, target, policy=POLICY, timeout_s=5.0)).status

    with receiver(name, tmp_path, secret, port) as process:
        deadline = time.monotonic() + 20
        while (status := await post(other)) is None:
            assert time.monotonic() < deadline and process.poll() is None
            await asyncio.sleep(0.05)
        assert status == 400
        assert [await post(secret), await post(other, secret), await post(secret)] == [204, 204, 204]
        assert await post(other) == 400
        process.kill()
        output, _ = process.communicate(timeout=10)
    assert output == "easel.generation.succeeded.v1 019aa4d2-6c00-7000-8000-000000000001\n"
