"""What a partition knows of the fleet: a snapshot of the heartbeats, as decisions take it.

It may be stale or empty, and nothing that must be exact depends on it: it says where a job goes, how many may be out,
and whose lease is renewed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from schemas.fleet import HEARD_WITHIN_MS, Heartbeat

__all__ = ["NO_FLEET", "Fleet", "Heard"]


@dataclass(frozen=True)
class Heard:
    """The last heartbeat of an instance, and when the broker received it."""

    beat: Heartbeat
    at_ms: int

    def is_alive(self, at_ms: int) -> bool:
        """Whether this was heard lately."""
        return self.at_ms + HEARD_WITHIN_MS > at_ms

    def names(self, tenant: str, request_id: str, attempt: int) -> bool:
        """Whether it has this job, or has just ended it."""
        return (tenant, request_id, attempt) in self._jobs

    @cached_property
    def _jobs(self) -> frozenset[tuple[str, str, int]]:
        # Made when it is first asked for: of most heartbeats nobody asks.
        return frozenset(job[:3] for job in self.beat.held)


@dataclass(frozen=True)
class Fleet:
    """The instances that have been heard and have not left, by name."""

    instances: Mapping[str, Heard] = field(default_factory=dict)

    def workers(self, pool: str, at_ms: int) -> list[Heard]:
        """The workers of a pool that are alive at this moment and ready, draining ones too, by name."""
        return [heard for heard in self._workers.get(pool, ()) if heard.is_alive(at_ms) and heard.beat.ready]

    def is_alive(self, instance: str, at_ms: int) -> bool:
        """Whether an instance was heard lately."""
        heard = self.instances.get(instance)
        return heard is not None and heard.is_alive(at_ms)

    def named_ms(self, tenant: str, request_id: str, attempt: int) -> int | None:
        """When the broker last heard that somebody has this job, or has just ended it; None: nobody names it."""
        found = [heard.at_ms for heard in self.instances.values() if heard.names(tenant, request_id, attempt)]
        return max(found, default=None)

    def names(self, worker: str, tenant: str, request_id: str, attempt: int) -> bool:
        """Whether this worker's last report names this job."""
        heard = self.instances.get(worker)
        return heard is not None and heard.names(tenant, request_id, attempt)

    def demand(self, pool: str, partition: int, at_ms: int) -> tuple[int, int]:
        """The active weights in a pool of this partition and of all others, as instances told that are alive."""
        told = {
            number: weight
            for number, (heard_ms, weight) in self._demand.get(pool, {}).items()
            if heard_ms + HEARD_WITHIN_MS > at_ms
        }
        own = told.pop(partition, 0)
        return own, sum(told.values())

    @cached_property
    def _workers(self) -> Mapping[str, list[Heard]]:
        found: dict[str, list[Heard]] = {}
        for name in sorted(self.instances):
            heard = self.instances[name]
            if heard.beat.stage == "generation" and heard.beat.pool is not None:
                found.setdefault(heard.beat.pool, []).append(heard)
        return found

    @cached_property
    def _demand(self) -> Mapping[str, Mapping[int, tuple[int, int]]]:
        latest: dict[str, dict[int, tuple[int, int]]] = {}
        for heard in self.instances.values():
            for name, weight in heard.beat.demand.items():
                pool, _, partition = name.rpartition("/")
                if partition.isdecimal():
                    told = latest.setdefault(pool, {})
                    # A partition that has just moved is told of by two: the later word holds.
                    told[int(partition)] = max(told.get(int(partition), (0, 0)), (heard.at_ms, weight))
        return latest


NO_FLEET = Fleet()
