"""What instances tell of themselves on the fleet topic, about once a second."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Heartbeat"]


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
