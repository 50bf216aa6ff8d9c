"""``easel trace``: collects the spans of one request, and draws them."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.terminal import CommandError, ExitCode, err, out, print_json

if TYPE_CHECKING:
    from ops.trace.collector import Collector

__all__ = ["trace"]

_QUIET_S = 8.0
"""Exporters send every 5 s: a trace of which nothing more came for longer is whole."""
_LOOK_S = 0.2


def trace(
    picture: Annotated[Path, typer.Option("--out", help="Where to write the picture.")] = Path("trace.png"),
    port: Annotated[int, typer.Option(help="Where services send to, by EASEL_TRACING_ENDPOINT.")] = 4318,
    limit_s: Annotated[float, typer.Option("--within", help="Give up after so many seconds.")] = 300.0,
    as_json: Annotated[bool, typer.Option("--json", help="Also print each span as a line of JSON.")] = False,
) -> None:
    """Collect the spans of one request, the first that ends, and draw where its time went.

    Run it, then the services with EASEL_TRACING_ENDPOINT=http://127.0.0.1:4318, then ask for a picture over HTTP.
    """
    if any(importlib.util.find_spec(name) is None for name in ("opentelemetry", "matplotlib")):
        raise CommandError("needs OpenTelemetry and matplotlib", "pip install '.[tracing,dev]'", code=ExitCode.SETUP)
    from dataclasses import asdict

    from ops.trace.collector import Collector
    from ops.trace.picture import draw

    with Collector(port) as collector:
        err.print(f"listening on {collector.endpoint}", style="dim")
        found = _first_whole(collector, limit_s)
        spans = collector.of(found)
    draw(spans, picture)
    if as_json:
        for span in spans:
            print_json(asdict(span))
    out.print(f"{picture}: {len(spans)} spans of the trace {found}", markup=False)


def _first_whole(collector: Collector, limit_s: float) -> str:
    ends_at = time.monotonic() + limit_s
    while time.monotonic() < ends_at:
        time.sleep(_LOOK_S)
        if time.monotonic() - collector.heard_at > _QUIET_S:
            for span in list(collector.spans):
                if span.attributes.get("easel.decision") in {"succeeded", "failed", "canceled"}:
                    return span.trace
    raise CommandError(
        f"no request with a trace has ended within {limit_s:g} s",
        "do the services run with EASEL_TRACING_ENDPOINT, and did the request come over HTTP or with a traceparent?",
    )
