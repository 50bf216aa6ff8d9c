"""A loop of the tests leaves no socket behind when a TLS peer is slow to say goodbye."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

from ops.local.authority import Authority


def test_a_peer_that_does_not_say_goodbye_is_hung_up_on(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    identity = authority.issue("localhost")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(identity.cert_file, identity.key_file)
    over = Event()

    def silent(listener: socket.socket) -> bytes:
        connection, _ = listener.accept()
        with server.wrap_socket(connection, server_side=True) as tls:
            over.wait(10)
            return tls.recv(1)

    async def come_and_go(port: int) -> None:
        client = ssl.create_default_context(cafile=authority.cert_file)
        _, writer = await asyncio.open_connection("localhost", port, ssl=client)
        writer.close()

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        heard = pool.submit(silent, listener)
        asyncio.run(come_and_go(listener.getsockname()[1]))
        gc.collect()
        over.set()
        assert heard.result(10) == b""
