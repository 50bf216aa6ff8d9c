"""Readers of server-sent events that do as little as they can: they note when an id has come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterable
from typing import Any

from ops.bench.report import BenchError

__all__ = ["Reader", "Readers"]

_OPENED_AT_ONCE = 100


class Reader(asyncio.Protocol):
    """One stream. ``at``: id of an event → when it came, by the monotonic clock. ``slow``: it reads nothing for now."""

    def __init__(self, request: bytes, *, slow: bool) -> None:
        self._request = request
        self._slow = slow
        self._rest = b""
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self.at: dict[str, float] = {}
        self.order: list[str] = []
        self.received = 0
        self.closed = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"id: "):
                self._came(line[4:].decode().strip())

    def connection_lost(self, _error: Exception | None) -> None:
        self.closed = True

    async def until(self, id_: str) -> None:
        """Until an event with this id has come."""
        if id_ not in self.at:
            await self._waiting.setdefault(id_, asyncio.get_running_loop().create_future())

    def pause(self) -> None:
        """Read nothing more, if it is a slow one."""
        if self._slow:
            self.transport.pause_reading()

    def go_on(self) -> None:
        """Read again."""
        if self._slow and not self.closed:
            self.transport.resume_reading()

    @property
    def reads(self) -> bool:
        """Whether it is one of those that read all the time."""
        return not self._slow

    def _came(self, id_: str) -> None:
        self.order.append(id_)
        self.at.setdefault(id_, time.monotonic())
        waiting = self._waiting.pop(id_, None)
        if waiting is not None:
            waiting.set_result(None)


class Readers:
    """All of them, on 127.0.0.1."""

    def __init__(self, port: int, readers: Iterable[Reader]) -> None:
        self._port = port
        self.all = list(readers)

    async def open(self) -> None:
        """Connect, and wait until each has been told where its task stands."""
        gate = asyncio.Semaphore(_OPENED_AT_ONCE)

        async def opened(reader: Reader) -> None:
            async with gate:
                await asyncio.get_running_loop().create_connection(lambda: reader, "127.0.0.1", self._port)
                await reader.until("0-0")

        await self._within(60.0, (opened(reader) for reader in self.all), "were told that they are accepted")
        for reader in self.all:
            reader.pause()

    async def told(self, id_: str, limit_s: float) -> None:
        """Wait until all that read have this event."""
        await self._within(limit_s, (one.until(id_) for one in self.all if one.reads), f"were told {id_}")

    async def ended(self, limit_s: float) -> None:
        """Let the slow ones read again, and wait until each knows the end."""
        for reader in self.all:
            reader.go_on()
        await self._within(limit_s, (reader.until("end") for reader in self.all), "were told the end")

    def close(self) -> None:
        """Hang up."""
        for reader in self.all:
            if not reader.closed and hasattr(reader, "transport"):
                reader.transport.abort()

    async def _within(self, limit_s: float, waits: Iterable[Coroutine[None, None, None]], what: str) -> None:
        tasks = [asyncio.create_task(wait) for wait in waits]
        if not tasks:
            return
        done, left = await asyncio.wait(tasks, timeout=limit_s)
        for task in left:
            task.cancel()
        if left:
            raise BenchError(f"{len(done)} of {len(tasks)} readers {what} within {limit_s:g} s")
        for task in done:
            task.result()
