"""The HTTP API for those who have no Kafka client: it signs for its caller, publishes, and answers what was decided."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from producer_api.errors import handle_errors
from producer_api.metrics import Measured
from producer_api.openapi import describe
from producer_api.routes import generate, health, removal, tasks, token
from producer_api.services import Services
from schemas.settings import Settings

__all__ = ["create_app"]


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

    app = FastAPI(
        title="easel",
        version=version("easel"),
        description="Pictures from text, over HTTP. Every request that is answered `202` with the state `accepted` "
        "ends in exactly one final state, and is charged once.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.services = services
    handle_errors(app)
    app.add_middleware(Measured, metrics=services.metrics)
    for router in (generate.router, tasks.router, removal.router, token.router, health.router):
        app.include_router(router)
    describe(app)
    return app
