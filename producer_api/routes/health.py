"""Health and metrics, for probes and Prometheus. No key is needed: they say nothing about tenants."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from producer_api.services import ServicesDep

__all__ = ["router"]

router = APIRouter(tags=["operation"])


class Live(BaseModel):
    """The process answers."""

    status: Literal["live"] = "live"


class Ready(BaseModel):
    """Whether requests can be taken and tasks looked up; ``reasons`` says what is waited for."""

    ready: bool
    reasons: list[str]


@router.get("/health/live", summary="Is the process alive?")
async def live(response: Response) -> Live:
    """Always 200."""
    response.headers["Cache-Control"] = "no-store"
    return Live()


@router.get("/health/ready", summary="Can it do its work?", responses={503: {"model": Ready}})
async def ready(response: Response, services: ServicesDep) -> Ready:
    """200 once Kafka answers and all that was there at the start has been read; 503 with the reasons otherwise."""
    response.headers["Cache-Control"] = "no-store"
    reasons = services.reasons()
    if reasons:
        response.status_code = 503
    return Ready(ready=not reasons, reasons=reasons)


@router.get("/metrics", summary="For Prometheus", response_class=Response)
async def metrics(services: ServicesDep) -> Response:
    """Counters and histograms in Prometheus' text format."""
    return Response(services.metrics.render(), media_type=CONTENT_TYPE_LATEST)
