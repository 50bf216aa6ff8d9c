"""Runs the HTTP API until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import uvicorn
from fastapi import FastAPI

from producer_api.app import create_app
from producer_api.services import StartupError
from schemas.settings import Settings

__all__ = ["run_api", "serve"]

log = logging.getLogger(__name__)

_GRACE_S = 10
_KEEP_ALIVE_S = 15
_MAX_HEAD_BYTES = 32 * 1024
_BACKLOG = 1024


async def run_api(settings: Settings, *, stop: asyncio.Event | None = None) -> None:
    """Serve until ``stop`` is set or, where none is given, until SIGINT or SIGTERM. Answers under way are finished.

    Raises ``StartupError`` and ``ConfigError`` for what a person has to change.
    """
    app = create_app(settings)
    listener = _listen(settings.api.host, settings.api.port)
    host, port = listener.getsockname()[:2]
    log.info("listening on http://%s:%d", host, port)
    if stop is not None:
        await serve(app, listener, stop)
        return
    ends = asyncio.Event()
    with _signals(ends):
        await serve(app, listener, ends)


async def serve(app: FastAPI, listener: socket.socket, stop: asyncio.Event) -> None:
    """Serve ``app`` on a socket that listens already, until ``stop`` is set."""
    server = _Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            ws="none",
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_GRACE_S,
            h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
        )
    )

    async def end() -> None:
        await stop.wait()
        server.should_exit = True

    ending = asyncio.create_task(end())
    try:
        await server.serve(sockets=[listener])
    finally:
        ending.cancel()
        with suppress(asyncio.CancelledError):
            await ending


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to whoever runs us: uvicorn would raise them again after a clean end."""
        yield


@contextmanager
def _signals(ends: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ends.set)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=_BACKLOG, family=_family(host))
    except OSError as error:
        raise StartupError(
            f"can't listen on {host}:{port}: {error.strerror}; set EASEL_API_HOST and EASEL_API_PORT"
        ) from None


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
