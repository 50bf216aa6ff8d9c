"""The client of the HTTP bench, in a process of its own: as little work a request as can be, so that servers have it.

Run as a program, ``load.py PORT``. Each line on its standard input is a task in JSON, each line that it writes the
answer: ``{"connections", "seconds"}`` asks again and again on so many connections; ``{"per_s", "number"}`` asks at a
steady rate. Both with ``requests``, whole HTTP requests that are sent in turn, and ``expect``, what each answer holds.
It imports nothing of easel.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from itertools import cycle
from typing import Any

import uvloop

LIMIT_S = 20.0
"""An answer that takes longer is an error."""


def ignored(_answer: bytes) -> None:
    """Nobody waits for it."""


class Connection(asyncio.Protocol):
    """Sends one request after the other, each when the answer to the one before is whole."""

    def __init__(self) -> None:
        self.answered: Callable[[bytes], None] = ignored
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data
        head = buffer.find(b"\r\n\r\n")
        length = buffer.find(b"content-length: ")
        if head < 0 or len(buffer) < head + 4 + int(buffer[length + 16 : buffer.index(b"\r", length)]):
            self._buffer = buffer
            return
        self._buffer = b""
        self.answered(buffer)

    def connection_lost(self, _error: Exception | None) -> None:
        self.answered(b"")


class Tally:
    """What came back."""

    def __init__(self, expect: str) -> None:
        self._expect = expect.encode()
        self.latencies: list[float] = []
        self.wrong: list[str] = []

    def add(self, answer: bytes, began: float) -> None:
        """Take in one answer."""
        if answer[9:12] == b"202" and self._expect in answer:
            self.latencies.append((time.perf_counter() - began) * 1000)
        else:
            self.wrong.append(answer[:12].decode() + answer[answer.find(b"\r\n\r\n") :][:300].decode(errors="replace"))


async def crowd(port: int, task: dict[str, Any], tally: Tally) -> float:
    """Ask on every connection without a pause; the seconds that it took."""
    requests = cycle([one.encode() for one in task["requests"]])
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    began = time.perf_counter()
    ends_at = began + task["seconds"]
    busy = task["connections"]

    def serve(connection: Connection) -> None:
        sent = time.perf_counter()

        def answered(answer: bytes) -> None:
            nonlocal busy, sent
            tally.add(answer, sent)
            sent = time.perf_counter()
            if sent < ends_at and answer:
                connection.transport.write(next(requests))
                return
            connection.answered = ignored
            connection.transport.close()
            busy -= 1
            if busy == 0:
                done.set_result(None)

        connection.answered = answered
        connection.transport.write(next(requests))

    for _ in range(task["connections"]):
        serve((await loop.create_connection(Connection, "127.0.0.1", port))[1])
    await asyncio.wait_for(done, task["seconds"] + LIMIT_S)
    return time.perf_counter() - began


async def pace(port: int, task: dict[str, Any], tally: Tally) -> float:
    """Ask at a steady rate, each request on a connection that is free; the seconds that it took."""
    requests = cycle([one.encode() for one in task["requests"]])
    loop = asyncio.get_running_loop()
    free: list[Connection] = []
    began = time.perf_counter()

    async def ask(at: float) -> None:
        await asyncio.sleep(max(0.0, at - time.perf_counter()))
        connection = free.pop() if free else (await loop.create_connection(Connection, "127.0.0.1", port))[1]
        answer = loop.create_future()
        connection.answered = answer.set_result
        sent = time.perf_counter()
        connection.transport.write(next(requests))
        tally.add(await asyncio.wait_for(answer, LIMIT_S), sent)
        connection.answered = ignored
        free.append(connection)

    await asyncio.gather(*(ask(began + number / task["per_s"]) for number in range(task["number"])))
    for connection in free:
        connection.transport.close()
    return time.perf_counter() - began


async def main(port: int) -> None:
    """Do the tasks as they come."""
    loop = asyncio.get_running_loop()
    print("{}", flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        task = json.loads(line)
        tally = Tally(task["expect"])
        seconds = await (pace if "per_s" in task else crowd)(port, task, tally)
        found = {"seconds": seconds, "latencies_ms": tally.latencies}
        print(json.dumps({**found, "errors": len(tally.wrong), "wrong": tally.wrong[:3]}), flush=True)


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
