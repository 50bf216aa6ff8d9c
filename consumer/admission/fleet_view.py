"""What a partition knows of the fleet: a snapshot of the heartbeats, as decisions take it.

It may be stale or empty, and nothing that must be exact depends on it: it says where a job goes, how many may be out,
and whose lease is renewed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from schemas.fleet import HEARD_WITHIN_MS, Heartbeat

__all__ = ["NO_FLEET", "Fleet", "Heard"]


@dataclass(frozen=True, slots=True)
class Heard:
    """The last heartbeat of an instance, and when the broker received it."""

    beat: Heartbeat
    at_ms: int


@dataclass(frozen=True)
class Fleet:
    """The instances that have been heard and have not left, by name."""

    instances: Mapping[str, Heard] = field(default_factory=dict)

    def workers(self, pool: str, at_ms: int) -> list[Heartbeat]:
        """The workers of a pool that are alive at this moment and ready, draining ones too."""
        return [
            heard.beat
            for heard in self.instances.values()
            if heard.beat.stage == "generation"
            and heard.beat.pool == pool
            and heard.beat.ready
            and heard.at_ms + HEARD_WITHIN_MS > at_ms
        ]

    def is_alive(self, instance: str, at_ms: int) -> bool:
        """Whether an instance was heard lately."""
        heard = self.instances.get(instance)
        return heard is not None and heard.at_ms + HEARD_WITHIN_MS > at_ms


NO_FLEET = Fleet()
