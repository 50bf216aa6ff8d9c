"""A file that people change while the API runs: taken over when it can be used, else the one before it goes on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from producer_api.background import end
from schemas.yaml_file import ConfigError, LiveFile

__all__ = ["FollowedFile"]

log = logging.getLogger(__name__)

_LOOK_S = 1.0

T = TypeVar("T")


class FollowedFile(Generic[T]):
    """What ``load`` makes of a file, within a second of each change."""

    def __init__(self, path: Path, load: Callable[[Path], T]) -> None:
        """Raises ``ConfigError`` when the file can't be used to begin with."""
        self._path = path
        self._load = load
        self._live = LiveFile(path)
        self._task: asyncio.Task[None] | None = None
        self.content = load(path)

    def start(self) -> None:
        """Follow the file."""
        self._task = asyncio.create_task(self._watch(), name=f"following {self._path.name}")

    async def stop(self) -> None:
        """Follow it no longer."""
        await end(self._task)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                if await asyncio.to_thread(self._live.changed):
                    self.content = await asyncio.to_thread(self._load, self._path)
                    log.info("%s was read again", self._path)
            except ConfigError as error:
                log.error("%s is not taken over, what it said before goes on: %s", self._path, error)
            except Exception:
                log.exception("following %s failed; trying again", self._path)
