"""Tasks that nobody waits for one by one, and whose failures are known all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

__all__ = ["Beside"]

T = TypeVar("T")


class Beside:
    """What is done beside the poll and the engine. A job whose task has failed unheard would be held for ever."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._failures: asyncio.Queue[BaseException] = asyncio.Queue()

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Do this; if it raises, ``failure`` does."""
        self.follow(work).add_done_callback(self._heard)

    def follow(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Do this for somebody who waits for the task, and hears from it what went wrong."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def failure(self) -> NoReturn:
        """Wait until something that was begun has failed, and raise what it was."""
        raise await self._failures.get()

    async def settled(self) -> None:
        """Wait until everything has ended."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def abandon(self) -> None:
        """Stop everything that has not ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _heard(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failures.put_nowait(error)
