"""The answer of ``POST /api/v1/generate``, and of asking for its task."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from producer_api.answers import State, Task, ending_of
from producer_api.pictures import picture_url
from producer_api.services import Services
from schemas.errors import ErrorBody
from schemas.events import Succeeded

__all__ = ["STATUSES", "ClassicTask", "classic_task"]

Status = Literal["pending", "processing", "completed", "failed", "cancelled"]

STATUSES: dict[State, Status] = {
    "submitted": "pending",
    "accepted": "pending",
    "running": "processing",
    "succeeded": "completed",
    "failed": "failed",
    "rejected": "failed",
    "canceled": "cancelled",
}


class ClassicImage(BaseModel):
    """A picture. The link needs no key, and works for an hour, as ``EASEL_API_URL_TTL_S`` says."""

    url: str
    seed: int
    width: int
    height: int


class ClassicError(BaseModel):
    """Why it failed."""

    code: str
    message: str


class ClassicTask(BaseModel):
    """Where a request stands; ``images`` is empty until it is ``completed``."""

    task_id: str
    status: Status
    images: list[ClassicImage] = []
    progress: int | None = Field(default=None, description="Per cent of the steps.")
    created_at: datetime
    error: ClassicError | None = None


async def classic_task(services: Services, tenant: str, task: Task) -> ClassicTask:
    """A task as their clients read it."""
    return ClassicTask(
        task_id=task.id,
        status=STATUSES[task.state],
        images=await _images(services, tenant, task),
        progress=None if task.progress is None else 100 * task.progress.step // task.progress.steps,
        created_at=task.created_at,
        error=None if task.error is None else _error(task.error),
    )


async def _images(services: Services, tenant: str, task: Task) -> list[ClassicImage]:
    if task.state != "succeeded" or task.outputs is None:
        return []
    row = await services.tracker.row(tenant, task.id)
    ending = None if row is None else ending_of(row)
    if not isinstance(ending, Succeeded):
        return []
    return [
        ClassicImage(url=picture_url(services, one), seed=one.seed, width=one.width, height=one.height)
        for one in ending.outputs
    ]


def _error(error: ErrorBody) -> ClassicError:
    return ClassicError(code=error.code, message=error.message)
