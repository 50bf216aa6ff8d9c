"""Health and metrics, for probes and Prometheus. No key is needed: they say nothing about tenants."""

from __future__ import annotations

from importlib.metadata import version
from typing import Literal

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field

from producer_api.services import ServicesDep
from schemas.fleet import Gpu

__all__ = ["router"]

router = APIRouter(tags=["operation"])


class Live(BaseModel):
    """The process answers."""

    status: Literal["live"] = "live"


class Ready(BaseModel):
    """Whether requests can be taken and tasks looked up; ``reasons`` says what is waited for."""

    ready: bool
    reasons: list[str]


class Worker(BaseModel):
    """A worker, without its name."""

    pool: str
    state: Literal["ready", "draining", "unready"]
    models: list[str] = Field(description="Those that are loaded.")
    jobs: int
    backlog_milliunits: int = Field(description="The work that it has before it.")
    rate_milliunits_s: int = Field(description="The work that it gets done in a second; 0 before its first batch.")
    gpu: Gpu | None = Field(description="As the driver sees it; null without one.")


class Queue(BaseModel):
    """Requests of all tenants: those that wait in admission, and those that are with the workers."""

    waiting: int
    running: int


class Health(BaseModel):
    """The installation as it was last heard."""

    status: Literal["ok", "degraded"]
    reasons: list[str] = Field(description="Why it is degraded.")
    version: str
    models: list[str] = Field(description="Those that some worker has loaded.")
    queue: Queue
    admission: int = Field(description="Instances of admission that are ready.")
    workers: list[Worker]


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


@router.get("/health", summary="How is the installation?")
async def health(services: ServicesDep) -> Health:
    """Models, queue, workers and their GPUs, as they have told it in the last seconds. Always 200."""
    living = services.fleet.living()
    workers = [
        Worker(
            pool=beat.pool or "default",
            state="draining" if beat.draining else "ready" if beat.ready else "unready",
            models=sorted(beat.models),
            jobs=sum(state != "ended" for *_, state in beat.held),
            backlog_milliunits=beat.backlog_milliunits,
            rate_milliunits_s=beat.rate_milliunits_s,
            gpu=beat.gpu,
        )
        for beat in living
        if beat.stage == "generation"
    ]
    counts = [count for beat in living for count in beat.tenants.values()]
    reasons = services.reasons()
    if not any(worker.state == "ready" for worker in workers):
        reasons.append("no worker is ready: what is asked for waits")
    return Health(
        status="degraded" if reasons else "ok",
        reasons=reasons,
        version=version("easel"),
        models=sorted({model for worker in workers for model in worker.models}),
        queue=Queue(waiting=sum(one.queued for one in counts), running=sum(one.running for one in counts)),
        admission=sum(beat.stage == "admission" and beat.ready for beat in living),
        workers=workers,
    )


@router.get("/metrics", summary="For Prometheus", response_class=Response)
async def metrics(services: ServicesDep) -> Response:
    """Counters and histograms in Prometheus' text format."""
    return Response(services.metrics.render(), media_type=CONTENT_TYPE_LATEST)
