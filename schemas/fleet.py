"""What instances tell of themselves on the fleet topic, about once a second."""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["HEARD_WITHIN_MS", "Gpu", "Heartbeat", "Held", "HeldJob", "OpenCount"]

HEARD_WITHIN_MS = 8_000
"""Who has not been heard for this long, by the broker's clock, is not counted on. Below the workers' session timeout:
what is known of a lost worker is known before the group gives its jobs to others."""


class HeldJob(NamedTuple):
    """A job that a worker has."""

    tenant: str
    request_id: str
    attempt: int
    state: Literal["waiting", "running", "ended"]
    """``running``: its start was announced and it has not ended; ``ended``: in the last minute."""


Held = tuple[str, str, int, Literal["waiting", "running", "ended"]]
"""A ``HeldJob`` as it is read: a plain tuple, for there may be a thousand of them in each heartbeat."""


class OpenCount(NamedTuple):
    """How many requests of a tenant wait in admission, and how many are with the fleet."""

    queued: int
    running: int


class Gpu(BaseModel):
    """A worker's GPU, as its driver sees it: with what other programs have of it."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    memory_mib: int
    used_mib: int
    busy_percent: int


class Heartbeat(BaseModel):
    """An instance lives, and what it has. Its key is the instance; a null value says that it left."""

    TYPE: ClassVar[str] = "easel.fleet.heartbeat.v1"
    model_config = ConfigDict(extra="ignore", frozen=True)

    instance: str
    stage: Literal["admission", "generation"]
    partitions: list[int] = Field(default_factory=list)
    """What the group has given to it: of admission's inputs, or of its pool's jobs topic."""
    ready: bool
    tenants_version: int | None = None

    pool: str | None = None
    """Of a worker."""
    draining: bool = False
    """It takes nothing new, and leaves when what runs has ended."""
    held: list[Held] = Field(default_factory=list)
    """Jobs that it has, and those that have just ended."""
    capacity_milliunits: int = 0
    """The work of one full batch of what it has run lately; 0 before its first."""
    rate_milliunits_s: int = 0
    """The work that it gets done in a second of running; 0 before its first batch."""
    backlog_milliunits: int = 0
    """The work of the jobs that it has and has not finished."""
    models: dict[str, str] = Field(default_factory=dict)
    """The models that are loaded, with the revisions of their weights."""
    gpu: Gpu | None = None

    demand: dict[str, int] = Field(default_factory=dict)
    """Of admission: for each pool, the weights of the tenants that have something waiting or in flight there, summed
    over its partitions and keyed ``<pool>/<partition>``."""

    tenants: dict[str, OpenCount] = Field(default_factory=dict)
    """Of admission: the tenants that have something open here; of more than 200, those with the most."""
