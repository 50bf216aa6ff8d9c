"""The head of an answer and its body leave in one piece: each piece is a system call, and wakes who waits for it."""

from __future__ import annotations

import asyncio

__all__ = ["OneWrite"]


class OneWrite:
    """Stands before a connection's transport, for what writes answers: two writes in a turn of the loop become one."""

    __slots__ = ("_held", "_loop", "_soon", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: bytes | None = None
        self._soon: asyncio.Handle | None = None

    def write(self, data: bytes) -> None:
        """Write ``data`` together with what is held; where nothing is, hold it until the next write or turn."""
        if self._held is None:
            self._held = data
            self._soon = self._loop.call_soon(self._flush)
        else:
            held, self._held = self._held, None
            self._end_soon()
            self._transport.writelines((held, data))

    def close(self) -> None:
        """Close the connection, once everything is written."""
        self._end_soon()
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Whether the connection is closed, or about to be."""
        return self._transport.is_closing()

    def _flush(self) -> None:
        held, self._held = self._held, None
        if held is not None and not self._transport.is_closing():
            self._transport.write(held)

    def _end_soon(self) -> None:
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
