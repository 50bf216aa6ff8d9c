"""The answer of ``POST /api/v1/generate``, and of asking for its task."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from producer_api.answers import Image, State, Task
from schemas.errors import ErrorBody

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


def classic_task(task: Task) -> ClassicTask:
    """A task as their clients read it."""
    return ClassicTask(
        task_id=task.id,
        status=STATUSES[task.state],
        images=[_image(one) for one in task.outputs or ()],
        progress=None if task.progress is None else 100 * task.progress.step // task.progress.steps,
        created_at=task.created_at,
        error=None if task.error is None else _error(task.error),
    )


def _image(image: Image) -> ClassicImage:
    return ClassicImage(url=image.url or image.path, seed=image.seed, width=image.width, height=image.height)


def _error(error: ErrorBody) -> ClassicError:
    return ClassicError(code=error.code, message=error.message)
