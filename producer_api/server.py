"""Runs the HTTP API until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import ceil

import uvicorn
from fastapi import FastAPI

from producer_api.app import create_app
from producer_api.connection import limited_to
from producer_api.services import Services, StartupError
from schemas.settings import Settings

__all__ = ["run_api", "serve"]

log = logging.getLogger(__name__)

_KEEP_ALIVE_S = 15
_BACKLOG = 1024


async def run_api(settings: Settings, *, stop: asyncio.Event | None = None) -> None:
    """Serve until ``stop`` is set or, where none is given, until SIGINT or SIGTERM. Answers under way are finished.

    Balancers see first that it is not ready; then nothing new is taken, and streams are told to come again.

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
    services: Services = app.state.services
    api = services.settings.api
    server = _Server(
        uvicorn.Config(
            app,
            http=limited_to(api.connections),
            log_config=None,
            access_log=False,
            server_header=False,
            ws="none",
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=ceil(api.grace_s),
            # Else a task would see what an earlier request of its connection has left behind.
            reset_contextvars=True,
        )
    )

    async def end() -> None:
        await stop.wait()
        services.closing.set()
        await asyncio.sleep(api.leave_s)
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
