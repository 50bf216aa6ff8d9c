"""The store that stands in for MinIO in the demo, where there is no Go to build it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from ops.local.process import start_detached
from ops.local.store import StorePart
from schemas.connection import StoreSettings
from transport.errors import Misconfigured, NotFound
from transport.objects import ObjectStore


@pytest.fixture
def rclone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StoreSettings]:
    """rclone, as it serves on a machine without Go and without a MinIO from earlier."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    part = StorePart(tmp_path / "store", fallback=True)
    said: list[str] = []
    part.prepare(said.append)
    assert "rclone" in said[0]
    record = start_detached(part.command(), part.environment(), tmp_path / "log")
    try:
        ends_at = time.monotonic() + part.start_limit_s
        while not part.answers():
            assert time.monotonic() < ends_at, (tmp_path / "log").read_text()
            time.sleep(0.05)
        keys = part.credentials
        yield StoreSettings(
            endpoint=part.address.removeprefix("http://"),
            access_key=SecretStr(keys.access_key),
            secret_key=SecretStr(keys.secret_key),
        )
    finally:
        record.stop()


async def test_it_keeps_pictures_and_says_what_is_missing(rclone: StoreSettings) -> None:
    async with ObjectStore(rclone) as store:
        assert await store.ensure_bucket()
        assert not await store.ensure_bucket()
        await store.put("outputs/a/0.png", b"\x89PNG", content_type="image/png")
        assert await store.get("outputs/a/0.png") == b"\x89PNG"
        assert [info.key async for info in store.list("outputs/")] == ["outputs/a/0.png"]
        assert not await store.exists("outputs/a/manifest.json")
        with pytest.raises(NotFound):
            await store.get("outputs/a/manifest.json")
    wrong = rclone.model_copy(update={"secret_key": SecretStr("not the right one")})
    async with ObjectStore(wrong) as store:
        with pytest.raises(Misconfigured):
            await store.get("outputs/a/0.png")
