"""A real broker behind a wire that a test can bend: requests are counted, responses replaced, connections cut."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable
from enum import IntEnum
from pathlib import Path

from ops.local.stack import Stack
from schemas.connection import KafkaSettings
from tests.stack import kafka_settings

__all__ = [
    "ApiKey",
    "Wire",
    "api_versions_up_to",
    "broker_behind_wire",
    "init_producer_id_error",
    "join_group_error",
    "offset_fetch_error",
]


class ApiKey(IntEnum):
    """Numbers of the requests that tests care about: https://kafka.apache.org/protocol#protocol_api_keys."""

    PRODUCE = 0
    OFFSET_FETCH = 9
    FIND_COORDINATOR = 10
    JOIN_GROUP = 11
    HEARTBEAT = 12
    API_VERSIONS = 18
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS_TO_TXN = 24
    END_TXN = 26
    TXN_OFFSET_COMMIT = 28


class Wire:
    """Forwards whole frames between clients and the broker. Frames are a 4-byte length and as many bytes."""

    def __init__(self) -> None:
        self.requests: Counter[int] = Counter()
        self.replace_response: dict[int, Callable[[bytes], bytes]] = {}
        """By API key: makes another response of the broker's; both begin with the correlation id."""
        self.cut_after_request: set[int] = set()
        """The next request of such a key reaches the broker, and then its connection is cut; once for each entry."""
        self._target = ("127.0.0.1", 0)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self) -> int:
        """Returns the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    def lead_to(self, address: str) -> None:
        host, port = address.split(":")
        self._target = (host, int(port))

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            broker_in, broker_out = await asyncio.open_connection(*self._target)
            asked: dict[int, int] = {}
            ways = [
                asyncio.ensure_future(self._forward_requests(client_in, broker_out, asked)),
                asyncio.ensure_future(self._forward_responses(broker_in, client_out, asked)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
                broker_out.close()
        client_out.close()

    async def _forward_requests(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, asked: dict[int, int]
    ) -> None:
        while True:
            frame = await _frame(source)
            key, _version, correlation = struct.unpack(">hhi", frame[:8])
            self.requests[key] += 1
            asked[correlation] = key
            sink.write(struct.pack(">i", len(frame)) + frame)
            await sink.drain()
            if key in self.cut_after_request:
                self.cut_after_request.discard(key)
                return

    async def _forward_responses(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, asked: dict[int, int]
    ) -> None:
        while True:
            frame = await _frame(source)
            (correlation,) = struct.unpack(">i", frame[:4])
            replace = self.replace_response.get(asked.pop(correlation))
            if replace:
                frame = replace(frame)
            sink.write(struct.pack(">i", len(frame)) + frame)
            await sink.drain()


async def _frame(source: asyncio.StreamReader) -> bytes:
    (size,) = struct.unpack(">i", await source.readexactly(4))
    return await source.readexactly(size)


@contextlib.asynccontextmanager
async def broker_behind_wire(directory: Path) -> AsyncIterator[tuple[KafkaSettings, Wire]]:
    """A broker that tells its clients to reach it through the wire."""
    wire = Wire()
    port = await wire.listen()
    stack = Stack(directory, kafka_properties={"advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}"})
    try:
        endpoints = await asyncio.to_thread(stack.up, "kafka")
        wire.lead_to(endpoints.kafka)
        settings = kafka_settings(stack)
        yield settings.model_copy(update={"bootstrap_servers": f"127.0.0.1:{port}"}), wire
    finally:
        await wire.close()
        await asyncio.to_thread(stack.down)


def offset_fetch_error(code: int) -> Callable[[bytes], bytes]:
    """What a coordinator answers (version 3) that cannot read offsets: no topics, and the error at the top."""
    return lambda frame: frame[:4] + struct.pack(">iih", 0, 0, code)


def init_producer_id_error(code: int) -> Callable[[bytes], bytes]:
    """What a coordinator answers (version 0) that can't give a producer its id: neither id nor epoch."""
    return lambda frame: frame[:4] + struct.pack(">ihqh", 0, code, -1, -1)


def api_versions_up_to(highest: int) -> Callable[[bytes], bytes]:
    """The broker's answer (version 0), in which ApiVersions itself goes no further than this."""

    def older(frame: bytes) -> bytes:
        head, entries = frame[:10], bytearray(frame[10:])
        if len(entries) != 6 * struct.unpack(">i", head[6:])[0]:
            # A newer version: the broker's own question to itself.
            return frame
        for at in range(0, len(entries), 6):
            key, lowest, _ = struct.unpack_from(">hhh", entries, at)
            if key == ApiKey.API_VERSIONS:
                struct.pack_into(">hhh", entries, at, key, lowest, highest)
        return head + bytes(entries)

    return older


def join_group_error(code: int) -> Callable[[bytes], bytes]:
    """A refusal to join (version 2 to 5): no generation, protocol, leader, member and members."""
    return lambda frame: frame[:4] + struct.pack(">ihihhhi", 0, code, -1, 0, 0, 0, 0)
