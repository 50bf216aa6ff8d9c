"""What the HTTP API counts: one registry an app, so that two apps in a process don't mix."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Measured", "Metrics"]

_LATENCY_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The series, by what they say. Times in seconds."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "easel_api_requests",
            "Answers by route, method and status.",
            ["route", "method", "status"],
            registry=registry,
        )
        self.latency = Histogram(
            "easel_api_request_seconds",
            "From a request's first byte to the last of its answer.",
            ["route"],
            buckets=_LATENCY_S,
            registry=registry,
        )
        self.decisions = Counter(
            "easel_api_decisions",
            "Published requests by what admission said: accepted, duplicate, the code of a refusal, or none in time.",
            ["outcome"],
            registry=registry,
        )
        self.decision_latency = Histogram(
            "easel_api_decision_seconds",
            "From publishing a request to reading admission's decision.",
            buckets=_LATENCY_S,
            registry=registry,
        )
        self.publish_failures = Counter(
            "easel_api_publish_failures", "Requests that Kafka did not acknowledge in time.", registry=registry
        )
        self.caught_up = Gauge(
            "easel_api_caught_up", "1 once everything that was there at the start has been read.", registry=registry
        )
        self.events = Counter(
            "easel_api_events", "Events read from the results and progress topics.", registry=registry
        )
        self.tenants_version = Gauge(
            "easel_api_tenants_version", "Version of the tenants file that is in force.", registry=registry
        )
        self.tenants_valid = Gauge(
            "easel_api_tenants_valid",
            "0 when the tenants file on disk can't be used and an older one goes on.",
            registry=registry,
        )

    def render(self) -> bytes:
        """The Prometheus text format."""
        return generate_latest(self.registry)


class Measured:
    """Middleware that counts and times every request under the template of its route."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 500

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, observed)
        finally:
            # The template, never the path itself: ids would make a series each.
            route = getattr(scope.get("route"), "path", "unmatched")
            self._metrics.requests.labels(route, scope["method"], str(status)).inc()
            self._metrics.latency.labels(route).observe(time.perf_counter() - began)
