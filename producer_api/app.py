"""The HTTP API for those who have no Kafka client: it signs for its caller, publishes, and answers what was decided."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from producer_api.bodies import BoundedBody
from producer_api.direct import Direct
from producer_api.errors import handle_errors
from producer_api.metrics import Measured
from producer_api.openapi import describe
from producer_api.request_log import RequestLog
from producer_api.routes import classic, events, generate, health, images, openai, removal, tasks, token, uploads
from producer_api.services import Services
from producer_api.traced import Traced
from schemas.settings import Settings

__all__ = ["create_app"]


class _App(FastAPI):
    def build_middleware_stack(self) -> ASGIApp:
        """The framework's own answers to what it did not expect have the headers and the line in the log too."""
        return Traced(RequestLog(super().build_middleware_stack()))


def create_app(settings: Settings) -> FastAPI:
    """The ASGI app. Its parts start and stop with its lifespan; none of them waits for Kafka or the store.

    Raises ``StartupError`` for settings that can't work, and ``ConfigError`` for a tenants file that can't be used.
    """
    services = Services.build(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await services.start()
        try:
            yield
        finally:
            await services.stop()

    app = _App(
        title="easel",
        version=version("easel"),
        description="Pictures from text, over HTTP. Every request that is answered `202` with the state `accepted` "
        "ends in exactly one final state, and is charged once.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        # Spans and metrics are our own.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.services = services
    handle_errors(app)
    # The one that is added last is the first to see a request.
    (generation,) = (route for route in generate.router.routes if isinstance(route, APIRoute))
    app.add_middleware(Direct, route=generation, method="POST", handle=generate.generate_for)
    app.add_middleware(BoundedBody, most_bytes=settings.api.max_body_mib * 2**20)
    app.add_middleware(Measured, metrics=services.metrics)
    if settings.api.cors_origins:
        app.add_middleware(CORSMiddleware, **_cors(settings.api.cors_origins.split()))
    routers = (generate, uploads, tasks, images, events, removal, token, openai, classic, health)
    for router in (part.router for part in routers):
        app.include_router(router)
    describe(app)
    return app


def _cors(origins: list[str]) -> dict[str, Any]:
    return {
        "allow_origins": origins,
        "allow_methods": ["GET", "POST", "DELETE"],
        "allow_headers": [
            "Authorization",
            "Content-Type",
            "Easel-Request-Id",
            "Idempotency-Key",
            "If-None-Match",
            "Last-Event-ID",
            "Prefer",
            "Range",
            "Traceparent",
            "X-API-Key",
            "X-Request-Id",
        ],
        "expose_headers": [
            "Content-Range",
            "Easel-Request-Id",
            "ETag",
            "Location",
            "Preference-Applied",
            "RateLimit",
            "RateLimit-Policy",
            "Retry-After",
            "X-Request-Id",
        ],
        "max_age": 600,
    }
