"""An installation with a null engine, and workers that end with their test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from schemas.settings import Settings
from tests.consumer.generation.harness import Installation, WorkerProcess, write_null_models
from transport.objects import ObjectStore


@pytest.fixture
async def installation(settings: Settings, tmp_path: Path) -> Installation:
    """Topics and a bucket of its own; one model, ``nothing``, without weights."""
    return await Installation.make(settings, write_null_models(tmp_path))


@pytest.fixture
def worker(installation: Installation, tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    """Starts a worker; keyword arguments are variables of its environment."""
    started: list[WorkerProcess] = []

    def start(**environment: str) -> WorkerProcess:
        process = WorkerProcess(installation, tmp_path / f"worker-{len(started)}.log", environment)
        started.append(process)
        return process.start()

    yield start
    for process in started:
        process.kill()


@pytest.fixture
async def objects(settings: Settings) -> AsyncIterator[ObjectStore]:
    async with ObjectStore(settings.store) as store:
        yield store
