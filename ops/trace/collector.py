"""Takes spans as OTLP over HTTP, as any OpenTelemetry collector does, and keeps them in memory."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

__all__ = ["Collector", "Span"]

_MOST_SPANS = 100_000
_STATUS_ERROR = 2


@dataclass(frozen=True, slots=True)
class Span:
    """One span. Ids in hex; times in ns since 1970."""

    trace: str
    id: str
    parent: str
    service: str
    name: str
    began_ns: int
    ended_ns: int
    failed: bool
    attributes: Mapping[str, Any]


@dataclass
class Collector:
    """Listens on ``host:port`` while it is open; port 0 takes a free one."""

    port: int = 0
    host: str = "127.0.0.1"
    spans: list[Span] = field(default_factory=list)
    heard_at: float = 0.0
    """When spans came last, by the monotonic clock."""
    _server: ThreadingHTTPServer | None = None

    @property
    def endpoint(self) -> str:
        return f"http://{self.host}:{self.port}"

    def of(self, trace: str) -> list[Span]:
        """The spans of a trace, in the order in which they began."""
        return sorted((span for span in list(self.spans) if span.trace == trace), key=lambda span: span.began_ns)

    def __enter__(self) -> Self:
        handler = type("_Bound", (_Handler,), {"collector": self})
        self._server = ThreadingHTTPServer((self.host, self.port), handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, name="collector", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def take(self, body: bytes) -> None:
        """Keep what an exporter sent. Raises ``google.protobuf.message.DecodeError``."""
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = _attributes(resource.resource.attributes).get("service.name", "")
            for scope in resource.scope_spans:
                self.spans += [
                    Span(
                        trace=one.trace_id.hex(),
                        id=one.span_id.hex(),
                        parent=one.parent_span_id.hex(),
                        service=service,
                        name=one.name,
                        began_ns=one.start_time_unix_nano,
                        ended_ns=one.end_time_unix_nano,
                        failed=one.status.code == _STATUS_ERROR,
                        attributes=_attributes(one.attributes),
                    )
                    for one in scope.spans
                ]
        del self.spans[:-_MOST_SPANS]
        self.heard_at = time.monotonic()


class _Handler(BaseHTTPRequestHandler):
    collector: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.collector.take(body)
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Exporters send every few seconds: that is not logged."""


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value") for pair in pairs}
