"""Spans of what this process does for requests that carry a trace, by OpenTelemetry.

Off unless an endpoint is set: then nothing is imported, and a span costs the look at one attribute. Spans are made of
times that are known anyway, mostly when the thing is over; a thread of the exporter sends them, and throws away what it
can't send, so that nobody ever waits for it. Names follow OpenTelemetry's semantic conventions for messaging and HTTP.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from schemas.yaml_file import ConfigError

__all__ = ["Kind", "LiveSpan", "Tracing", "tracing"]

Kind = Literal["server", "client", "producer", "consumer", "internal"]
Attributes = Mapping[str, str | int | float | bool]

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_SAMPLED = 1
_END_S = 2.0
_EXPORT_S = 5.0


class LiveSpan:
    """A span that has begun. ``traceparent`` is what its children carry."""

    def __init__(self, span: Any) -> None:
        self._span = span
        context = span.get_span_context()
        sampled = int(context.trace_flags) & _SAMPLED
        self.traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{sampled:02x}"

    def end(
        self, *, name: str | None = None, attributes: Attributes | None = None, error: str | None = None, at_ns: int = 0
    ) -> None:
        """It is over, now or at ``at_ns``; ``error`` says that it went wrong, in one word."""
        if name is not None:
            self._span.update_name(name)
        self._span.set_attributes(attributes or {})
        if error is not None:
            from opentelemetry.trace import StatusCode

            self._span.set_attribute("error.type", error)
            self._span.set_status(StatusCode.ERROR)
        self._span.end(end_time=at_ns or None)


class Tracing:
    """The spans of a process, as its logs are: one for all of it."""

    def __init__(self) -> None:
        self.on = False
        self._tracer: Any = None
        self._provider: Any = None

    def start(self, service: str, *, endpoint: str | None, installation: str) -> None:
        """Send spans to ``endpoint`` (such as ``http://127.0.0.1:4318``), or where OpenTelemetry's own variables say.

        Without either it stays off. Raises ``ConfigError`` where the packages for it are not installed.
        """
        if self.on or not (endpoint or any(os.environ.get(name) for name in _ENDPOINTS)):
            return
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise ConfigError(
                f"EASEL_TRACING_ENDPOINT needs OpenTelemetry ({error.name} is missing): install easel with [tracing]"
            ) from None
        target = f"{endpoint.rstrip('/')}/v1/traces" if endpoint else None
        about = {"service.name": service, "service.namespace": installation, "service.version": _version()}
        self._provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=target, timeout=_EXPORT_S)))
        self._tracer = self._provider.get_tracer("easel", _version())
        self.on = True

    def stop(self) -> None:
        """Send what is left, for 2 s at most."""
        provider, self._provider, self._tracer, self.on = self._provider, None, None, False
        if provider is not None:
            # In a thread: with a collector that does not answer, the exporter would go on trying.
            ending = threading.Thread(target=provider.shutdown, name="tracing", daemon=True)
            ending.start()
            ending.join(_END_S)

    def begin(
        self,
        name: str,
        traceparent: str | None,
        *,
        kind: Kind = "internal",
        at_ns: int = 0,
        attributes: Attributes | None = None,
    ) -> LiveSpan:
        """A span below ``traceparent``, or the first of a new trace. Only where ``on``."""
        from opentelemetry.trace import SpanKind

        return LiveSpan(
            self._tracer.start_span(
                name,
                context=_context_of(traceparent),
                kind=SpanKind[kind.upper()],
                attributes=dict(attributes or {}),
                start_time=at_ns or None,
            )
        )

    def span(
        self,
        name: str,
        traceparent: str | None,
        began_ns: int,
        *,
        ended_ns: int = 0,
        kind: Kind = "internal",
        attributes: Attributes | None = None,
        error: str | None = None,
    ) -> str | None:
        """What is over already, since 1970 in ns; returns what its children carry.

        None, and nothing is done, where this is off or the request carries no trace.
        """
        if not self.on or traceparent is None:
            return None
        live = self.begin(name, traceparent, kind=kind, at_ns=began_ns, attributes=attributes)
        # Times of two machines may be out of order by their clocks: no span ends before it begins.
        live.end(at_ns=max(ended_ns or time.time_ns(), began_ns), error=error)
        return live.traceparent


def _context_of(traceparent: str | None) -> Any:
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    match = _TRACEPARENT.fullmatch(traceparent or "")
    if match is None:
        return Context()
    trace_id, span_id, flags = (int(part, 16) for part in match.groups())
    parent = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags & _SAMPLED))
    return set_span_in_context(NonRecordingSpan(parent), Context())


def _version() -> str:
    try:
        return version("easel")
    except PackageNotFoundError:
        return "0"


tracing = Tracing()
"""That of this process."""
