"""``/health/live``, ``/health/ready`` and ``/metrics`` of a stage.

A thread with the standard library's server: it answers also while the event loop is busy, and adds no framework.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from consumer.metrics import CONTENT_TYPE, Metrics

__all__ = ["HealthServer", "Readiness"]

_REQUEST_TIMEOUT_S = 5.0
_STOP_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether the stage can do its work; ``reasons`` says what it waits for.

    ``notes`` are what a person should see that holds nothing up.
    """

    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def ready(self) -> bool:
        return not self.reasons


class HealthServer:
    """Serves on ``host:port`` from ``start()`` to ``stop()``; port 0 takes a free one, which ``port`` then tells.

    ``ready`` is called from the server's threads and must neither wait nor raise. The process is alive when it answers.
    """

    def __init__(self, host: str, port: int, metrics: Metrics, ready: Callable[[], Readiness], *, setting: str) -> None:
        """``setting``: the name of the setting that a taken port is changed by."""
        self._address = (host, port)
        self._setting = setting
        self._metrics = metrics
        self._ready = ready
        self._server: ThreadingHTTPServer | None = None

    @property
    def port(self) -> int:
        return self._address[1] if self._server is None else int(self._server.server_address[1])

    def start(self) -> None:
        """Raises ``OSError``, naming the address, when the port is taken."""
        handler = type("_BoundHandler", (_Handler,), {"metrics": self._metrics, "ready": staticmethod(self._ready)})
        host, port = self._address
        try:
            server = _Server((host, port), handler)
        except OSError as error:
            raise OSError(
                error.errno, f"can't serve health on {host}:{port}: {error.strerror}: set another {self._setting}"
            ) from None
        self._server = server
        threading.Thread(target=server.serve_forever, name="health", daemon=True).start()

    def stop(self) -> None:
        """Close the socket. A second call does nothing."""
        server, self._server = self._server, None
        if server is None:
            return
        stopper = threading.Thread(target=server.shutdown, daemon=True)
        stopper.start()
        stopper.join(_STOP_TIMEOUT_S)
        server.server_close()

    def __enter__(self) -> HealthServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


class _Handler(BaseHTTPRequestHandler):
    metrics: Metrics
    ready: Callable[[], Readiness]
    timeout = _REQUEST_TIMEOUT_S
    server_version = "easel"
    sys_version = ""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/health/live":
            self._json(200, {"status": "live"})
        elif path == "/health/ready":
            state = self.ready()
            told: dict[str, object] = {"ready": state.ready, "reasons": list(state.reasons)}
            if state.notes:
                told["notes"] = list(state.notes)
            self._json(200 if state.ready else 503, told)
        elif path == "/metrics":
            self._send(200, CONTENT_TYPE, self.metrics.render())
        else:
            message = f"there is no {path[:100]!r} here; there is /health/live, /health/ready and /metrics"
            error = {"message": message, "type": "not_found_error", "param": None, "code": "not_found"}
            self._json(404, {"error": error})

    do_HEAD = do_GET  # noqa: N815

    def _json(self, status: int, body: dict[str, object]) -> None:
        self._send(status, "application/json", json.dumps(body).encode())

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Probes come every few seconds: they are not logged."""
