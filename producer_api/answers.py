"""The shapes of the HTTP answers, and how a request's events become one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from producer_api.task_file import Row
from producer_api.wire import Terminal
from schemas.errors import ErrorBody
from schemas.events import Accepted, Canceled, Duplicate, Failed, Limit, Priced, Rejected, Succeeded
from schemas.ids import time_of
from schemas.outputs import Manifest, Output

__all__ = [
    "FINAL",
    "Deletion",
    "Group",
    "Image",
    "Links",
    "Price",
    "Progress",
    "State",
    "Task",
    "TaskLinks",
    "TaskPage",
    "price_of",
    "refused_task",
    "task_of_decision",
    "task_of_manifest",
    "task_of_row",
    "task_of_state",
]

State = Literal["submitted", "rejected", "accepted", "running", "succeeded", "failed", "canceled"]

FINAL: frozenset[State] = frozenset({"rejected", "succeeded", "failed", "canceled"})
"""The states that don't change any more."""

_OPEN: dict[str, State] = {"queued": "accepted", "dispatched": "accepted"}
_STATES: dict[str, State] = {
    state: state for state in ("rejected", "accepted", "running", "succeeded", "failed", "canceled")
}
_ENDINGS: dict[str, type[Terminal]] = {"succeeded": Succeeded, "failed": Failed, "canceled": Canceled}


class Image(Output):
    """One picture. ``sha256`` is the hash of its bytes."""

    key: str = Field(exclude=True)
    flagged: bool = Field(default=False, description="The image check found in it what it looks for.")
    blurred: bool = Field(default=False, description="It is a blur of what was made.")
    path: str = Field(description="Where it is on this server, for those who have a key.")
    url: str | None = Field(default=None, description="A link to it that needs no key and works until `expires_at`.")
    expires_at: datetime | None = None
    b64_json: str | None = Field(default=None, description="The picture itself, in base64, where that was asked for.")


class Progress(BaseModel):
    """``step`` of ``steps`` are done. Best effort."""

    attempt: int
    step: int
    steps: int


class Links(BaseModel):
    """Paths on this server."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    self_: str = Field(alias="self")


class TaskLinks(Links):
    """Paths on this server."""

    events: str = Field(description="What happens to it, as server-sent events.")


class Task(BaseModel):
    """A request and where it stands. Amounts are in milli-units: 1,000 are one step of one 1024x1024 picture."""

    id: str
    state: State = Field(
        description="`submitted`: published, not decided yet. `rejected`, `succeeded`, `failed`, `canceled` are final."
    )
    created_at: datetime
    model: str | None = None
    position: int | None = Field(default=None, description="Requests of the tenant that waited before it.")
    cost_milliunits: int | None = Field(default=None, description="Held when accepted; charged, once it has ended.")
    refunded_milliunits: int | None = None
    seed: int | None = Field(default=None, description="Of the first picture; the next ones count up from it.")
    progress: Progress | None = None
    cancel_requested: bool | None = Field(default=None, description="It is to stop, and has not ended yet.")
    outputs: list[Image] | None = None
    outputs_deleted_at: datetime | None = Field(default=None, description="When its pictures were deleted.")
    partial: bool | None = Field(default=None, description="Fewer pictures than asked for.")
    blocked: list[int] | None = Field(
        default=None, description="Pictures, by index, that were made and held back by the image check."
    )
    error: ErrorBody | None = None
    group: str | None = Field(default=None, description="What it belongs to: ask for all of it at `/v1/groups/{id}`.")
    metadata: dict[str, str] | None = None
    links: TaskLinks
    limits: list[Limit] = Field(default_factory=list, exclude=True)
    """What was left when it was accepted: told in headers."""


class Group(BaseModel):
    """Tasks that belong together, in the order in which they were asked for."""

    id: str
    counts: dict[State, int] = Field(description="How many of them are in each state.")
    tasks: list[Task]
    next: str | None = Field(default=None, description="The path of the tasks that come after these.")
    links: Links


class TaskPage(BaseModel):
    """Tasks, the newest first."""

    tasks: list[Task]
    next: str | None = Field(default=None, description="The path of the next page; absent on the last one.")


class Price(BaseModel):
    """The answer to a dry run. Amounts are in milli-units: 1,000 are one step of one 1024x1024 picture."""

    model: str
    cost_milliunits: int
    acceptable: bool = Field(
        description="Whether it would have been accepted at this moment; if not, `error` says why."
    )
    cached: bool = Field(description="Whether an earlier result of yours would be the answer, at this price.")
    position: int = Field(description="Requests of the tenant that wait before it.")
    error: ErrorBody | None = None
    limit: Limit | None = None
    retry_after_s: float | None = Field(default=None, description="When it may be accepted, where that is known.")


class Deletion(BaseModel):
    """What became of the wish to delete the pictures of a task."""

    id: str
    state: Literal["deleted", "deleting"] = Field(description="`deleting`: a worker will do it.")
    objects: int | None = Field(default=None, description="Objects that the store held of it: pictures and manifest.")


def price_of(event: Priced) -> Price:
    """The answer to a dry run."""
    return Price.model_validate(event.model_dump(exclude={"tenant", "request_id"}))


def task_of_state(id_: str, state: str) -> Task:
    """A task of which no more is known than where admission says that it stands."""
    return _bare(id_, _OPEN.get(state) or _STATES.get(state, "accepted"), time_of(id_))


def task_of_decision(id_: str, decision: Accepted | Duplicate | None) -> Task:
    """The answer to a request that was just published. None: there is no decision yet."""
    if isinstance(decision, Duplicate):
        return task_of_state(id_, decision.state)
    task = _bare(id_, "submitted", time_of(id_))
    if decision is not None:
        task.state = "accepted"
        _fill_accepted(task, decision)
    return task


def task_of_row(id_: str, row: Row) -> Task:
    """The answer about a request that the tracker knows."""
    state = _STATES[row.state]
    # A refused id need not be one that holds a time, but then the row does.
    task = _bare(id_, state, time_of(id_) if row.created_ms is None else row.created_ms)
    if row.decision is not None and state == "rejected":
        task.error = Rejected.model_validate_json(row.decision).error
    elif row.decision is not None:
        _fill_accepted(task, Accepted.model_validate_json(row.decision))
    if row.attempt is not None and row.step is not None and row.steps is not None:
        task.progress = Progress(attempt=row.attempt, step=row.step, steps=row.steps)
    ending = _ending_of(row)
    if ending is not None:
        _fill_ending(task, ending)
    elif row.cancel_requested:
        task.cancel_requested = True
    if row.deleted_ms is not None:
        task.outputs = None
        task.outputs_deleted_at = datetime.fromtimestamp(row.deleted_ms / 1000, tz=UTC)
    return task


def task_of_manifest(manifest: Manifest) -> Task:
    """The answer about a request that only the store still knows: what it came to, not what it cost."""
    task = _bare(manifest.request_id, "succeeded", time_of(manifest.request_id))
    task.model = manifest.model
    task.partial = len(manifest.outputs) < manifest.asked
    task.blocked = manifest.blocked or None
    task.outputs = [_image(task.id, output) for output in manifest.outputs]
    return task


def refused_task(id_: str, error: ErrorBody) -> Task:
    """One of several requests that were asked for together, which was refused."""
    task = _bare(id_, "rejected", time_of(id_))
    task.error = error
    return task


def _ending_of(row: Row) -> Terminal | None:
    """The event that ended a request, if it has ended."""
    return None if row.ending is None else _ENDINGS[row.state].model_validate_json(row.ending)


def _bare(id_: str, state: State, created_ms: int) -> Task:
    created_at = datetime.fromtimestamp(created_ms / 1000, tz=UTC)
    return Task(id=id_, state=state, created_at=created_at, links=_links(id_))


def _links(id_: str) -> TaskLinks:
    return TaskLinks(self_=f"/v1/tasks/{id_}", events=f"/v1/tasks/{id_}/events")


def _fill_accepted(task: Task, event: Accepted) -> None:
    task.model = event.model
    task.position = event.position
    task.cost_milliunits = event.cost_milliunits
    task.seed = event.seed
    task.group = event.group
    task.metadata = event.metadata or None
    task.limits = event.limits


def _fill_ending(task: Task, event: Terminal) -> None:
    task.cost_milliunits = event.cost_milliunits
    task.refunded_milliunits = event.refunded_milliunits
    task.metadata = event.metadata or None
    if isinstance(event, Failed):
        task.error = event.error
    if isinstance(event, Succeeded | Failed):
        task.blocked = event.blocked or None
    if isinstance(event, Succeeded):
        task.model = event.model
        task.partial = event.partial
        task.outputs = [_image(task.id, output) for output in event.outputs]


def _image(id_: str, output: Output) -> Image:
    return Image(path=f"/v1/tasks/{id_}/images/{output.index}", **output.model_dump())
