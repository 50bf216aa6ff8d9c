"""A receiver of webhooks as a customer would run one: a real HTTP server, verifying by the official package."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

Answering = Callable[["Delivery"], "int | tuple[int, Mapping[str, str]]"]


@dataclass(frozen=True)
class Delivery:
    """One POST as it arrived."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


def _well(_: Delivery) -> int:
    return 204


@dataclass
class Receiver:
    """Keeps every delivery; ``answering`` says what it is answered with."""

    answering: Answering = _well
    got: list[Delivery] = field(default_factory=list)
    port: int = 0
    _server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                delivery = Delivery(self.path, headers, body, time.time())
                answer = receiver.answering(delivery)
                receiver.got.append(delivery)
                status, more = answer if isinstance(answer, tuple) else (answer, {})
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def url(self, path: str = "/hook") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def ids(self, path: str = "/hook") -> list[str]:
        return [one.id for one in self.got if one.path == path]


def verified(delivery: Delivery, secret: str) -> bool:
    """Whether the official package takes it for genuine."""
    try:
        Webhook(secret).verify(delivery.body, dict(delivery.headers))
    except WebhookVerificationError:
        return False
    return True
