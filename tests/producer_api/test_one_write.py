"""An answer's head and body are one packet; what has no body, or waits for it, goes out all the same."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from producer_api.one_write import OneWrite

HEAD, BODY = b"HTTP/1.1 202 Accepted\r\n\r\n", b"{}"


@pytest.fixture
async def pair() -> AsyncIterator[tuple[OneWrite, socket.socket]]:
    """A connection's writer, and the other end."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
    yield OneWrite(transport, loop), theirs
    transport.abort()
    theirs.close()


def come(socket_: socket.socket) -> bytes | None:
    try:
        return socket_.recv(1024)
    except BlockingIOError:
        return None


async def test_head_and_body_come_together(pair: tuple[OneWrite, socket.socket]) -> None:
    writer, reader = pair
    for _ in range(2):
        writer.write(HEAD)
        assert come(reader) is None
        writer.write(BODY)
        assert come(reader) == HEAD + BODY
        await asyncio.sleep(0)
        assert come(reader) is None


async def test_a_head_whose_body_is_waited_for_goes_out(pair: tuple[OneWrite, socket.socket]) -> None:
    writer, reader = pair
    writer.write(HEAD)
    await asyncio.sleep(0.01)
    assert come(reader) == HEAD
    writer.write(BODY)
    await asyncio.sleep(0.01)
    assert come(reader) == BODY


async def test_what_is_held_goes_out_before_the_end(pair: tuple[OneWrite, socket.socket]) -> None:
    writer, reader = pair
    writer.write(HEAD)
    writer.close()
    assert writer.is_closing()
    assert come(reader) == HEAD
    await asyncio.sleep(0.01)
    assert come(reader) == b""
