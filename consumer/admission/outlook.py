"""What a batch of decisions sees of the fleet: for each pool the room left in it, and where a job waits least."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

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
        self._stuck_work: dict[str, int] = {}
        self._queues: dict[str, Queues] = {}

    def has_room(self, request: OpenRequest) -> bool:
        """Whether this request may leave for its pool."""
        pool, out = request.pool, self._state.in_flight
        if pool in self._rules.catalog.draining:
            return False
        window = self._window(pool)
        return window.has_room(out.jobs[pool], out.work[pool] - self._stuck(pool, window.stuck_ms), request.work)

    def _stuck(self, pool: str, stuck_ms: int | None) -> int:
        """The work of what has been out for too long."""
        if pool not in self._stuck_work:
            before_ms = self._at_ms - (stuck_ms or self._at_ms)
            out = self._state.in_flight.requests.values()
            self._stuck_work[pool] = sum(
                request.work for request in out if request.pool == pool and (request.dispatched_ms or 0) < before_ms
            )
        return self._stuck_work[pool]

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
            own, others = self._demand(pool)
            # Where nobody knows yet who is active, all are taken to be.
            weights = (own, own + others) if own else (1, self._rules.partitions)
            found = Queues(workers, self._rules.partition, self._at_ms, reported, *weights)
            self._queues[pool] = found
        return found

    def workers(self, pool: str) -> list[Heard]:
        """Those of a pool that take new jobs."""
        if pool not in self._able:
            self._able[pool] = able(self.fleet.workers(pool, self._at_ms))
        return self._able[pool]

    def _window(self, pool: str) -> Window:
        found = self._windows.get(pool)
        if found is None:
            partitions, jobs = self._rules.partitions, self._rules.window_jobs
            found = window_of(self.workers(pool), *self._demand(pool), partitions=partitions, jobs=jobs)
            self._windows[pool] = found
        return found

    def _demand(self, pool: str) -> tuple[int, int]:
        # Our own by the same reports as the others': what is newer of one side alone would be more than its part.
        return self.fleet.demand(pool, self._rules.partition, self._at_ms)

    def _reported(self, pool: str) -> Counter[str]:
        reported: Counter[str] = Counter()
        for key, request in self._state.in_flight.requests.items():
            if request.pool != pool or request.worker is None:
                continue
            if self.fleet.names(request.worker, *key, request.attempt):
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
