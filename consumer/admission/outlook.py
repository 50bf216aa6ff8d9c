"""What a batch of decisions sees of the fleet: for each pool the room left in it, and where a job waits least."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cached_property

from consumer.admission.fleet_view import Fleet, Heard
from consumer.admission.placement import Place, Queues, jobs_partition
from consumer.admission.rules import Rules
from consumer.admission.state import OpenRequest, PartitionState
from consumer.admission.window import Window, able, window_of

__all__ = ["Outlook", "demand_of"]


class Outlook:
    """One snapshot of the fleet beside a partition's memory, as both stood when the batch began."""

    def __init__(self, state: PartitionState, rules: Rules, fleet: Fleet, at_ms: int) -> None:
        self._state = state
        self._rules = rules
        self.fleet = fleet
        self._at_ms = at_ms
        self._able: dict[str, list[Heard]] = {}
        self._windows: dict[str, Window] = {}
        self._queues: dict[str, Queues] = {}

    def has_room(self, pool: str) -> bool:
        """Whether one more job may leave for a pool."""
        if pool in self._rules.catalog.draining:
            return False
        out = self._state.in_flight
        return self._window(pool).has_room(out.jobs[pool], out.work[pool])

    def shortest(self, request: OpenRequest) -> Heard | None:
        """The worker where a request waits least; None while nobody takes new jobs."""
        sent_to = self._state.in_flight.sent_to
        return self._queues_of(request.pool).shortest(sent_to, request.parameters.model)

    def place(self, request: OpenRequest, worker: Heard | None) -> Place:
        """Where a request is sent to reach this worker, or any while none is known."""
        if worker is not None:
            return self._queues_of(request.pool).place(worker)
        rules = self._rules
        return Place(jobs_partition(rules.partition, request.sequence, rules.jobs_partitions))

    def _queues_of(self, pool: str) -> Queues:
        found = self._queues.get(pool)
        if found is None:
            workers = self.workers(pool)
            # A lone worker gets everything: nothing is compared.
            reported = self._reported(pool) if len(workers) > 1 else {}
            found = self._queues[pool] = Queues(workers, self._rules.partition, reported)
        return found

    def workers(self, pool: str) -> list[Heard]:
        """Those of a pool that take new jobs."""
        if pool not in self._able:
            self._able[pool] = able(self.fleet.workers(pool, self._at_ms))
        return self._able[pool]

    def _window(self, pool: str) -> Window:
        found = self._windows.get(pool)
        if found is None:
            others = self.fleet.demand(pool, self._at_ms, but=self._rules.partition)
            found = window_of(self.workers(pool), self._demand.get(pool, 0), others, self._rules.window_jobs)
            self._windows[pool] = found
        return found

    @cached_property
    def _demand(self) -> Mapping[str, int]:
        return demand_of(self._state, self._rules)

    def _reported(self, pool: str) -> Counter[str]:
        reported: Counter[str] = Counter()
        for key, request in self._state.in_flight.requests.items():
            if request.pool != pool or request.worker is None:
                continue
            if self.fleet.named_ms(*key, request.attempt) is not None:
                reported[request.worker] += request.work
        return reported


def demand_of(state: PartitionState, rules: Rules) -> Mapping[str, int]:
    """Pool → the summed weights of the tenants that have something waiting or in flight there."""
    tenants = rules.directory.tenants
    demand: Counter[str] = Counter()
    for pool, tenant in state.active():
        known = tenants.get(tenant)
        demand[pool] += known.weight if known else 1
    return demand
