"""Stands before the object store, and lets it answer, or not, as a fault wants it."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Literal, Self

__all__ = ["Mood", "StoreProxy"]

Mood = Literal["well", "refuse", "slow"]

_CHUNK = 64 * 1024
_SLOW_S = 0.4
"""Before each piece of an answer: a picture takes about as long, and a batch of them several times that."""
_HEAD_LIMIT_S = 10.0
_REFUSAL = (
    b"<?xml version='1.0' encoding='UTF-8'?>"
    b"<Error><Code>SlowDown</Code><Message>reduce your request rate</Message></Error>"
)


class StoreProxy:
    """Relays connections on a loopback port to ``host:port`` behind it."""

    def __init__(self, behind: str) -> None:
        host, _, port = behind.rpartition(":")
        self._behind = (host, int(port))
        self._mood: Mood = "well"
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.address = ""

    def turn(self, mood: Mood) -> None:
        """From now on it is well, answers 503, or slowly. What is under way is cut off, as by a load balancer."""
        self._mood = mood
        for writer in list(self._open):
            writer.transport.abort()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.address = f"{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._open.add(writer)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
                if self._mood == "refuse":
                    await _refuse(reader, writer)
                else:
                    await self._relay(reader, writer)
        finally:
            self._open.discard(writer)
            writer.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(*self._behind)
        pause_s = _SLOW_S if self._mood == "slow" else 0.0
        pumps = [
            asyncio.ensure_future(_pump(reader, inner_writer, 0.0)),
            asyncio.ensure_future(_pump(inner_reader, writer, pause_s)),
        ]
        try:
            # The end of one direction is the end of the connection: S3 clients don't half-close.
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            inner_writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pause_s: float) -> None:
    while piece := await reader.read(_CHUNK):
        if pause_s:
            await asyncio.sleep(pause_s)
        writer.write(piece)
        await writer.drain()


async def _refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take one request whole, so that the client reads the answer instead of meeting a closed door, and refuse it."""
    async with asyncio.timeout(_HEAD_LIMIT_S):
        head = await reader.readuntil(b"\r\n\r\n")
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                await reader.readexactly(int(line.partition(b":")[2]))
        # A HEAD is answered without a body.
        body = b"" if head.startswith(b"HEAD") else _REFUSAL
        writer.write(
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/xml\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n" % len(_REFUSAL) + body
        )
        await writer.drain()
