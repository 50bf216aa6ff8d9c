"""What an instance shows of the partitions that it has, of their tenants, and of the fleet: where things stand now.

A gauge of a partition that another instance has now would be shown twice, and wrongly here: it is taken away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from consumer.admission.fleet_view import Fleet
from consumer.admission.rules import Rules
from consumer.admission.state import PartitionState
from consumer.metrics import Metrics
from schemas.catalog import Catalog
from schemas.fleet import Heartbeat, OpenCount

__all__ = ["PartitionGauges", "most_open", "show_fleet", "show_pending"]

_TOLD = 200
_STATES = ("ready", "draining", "unready")


class PartitionGauges:
    """The gauges of one partition, while it is here."""

    def __init__(self, metrics: Metrics, partition: int) -> None:
        self._metrics = metrics
        self._partition = partition
        self._open: dict[str, OpenCount] = {}
        self._inputs: set[str] = set()
        self._version = 0
        self._gone = False

    def show(self, state: PartitionState, rules: Rules, changed: Iterable[str]) -> None:
        """Where the partition stands, and each of the ``changed`` tenants."""
        if self._gone:
            return
        set_ = self._metrics.set
        set_("easel_admission_queued", state.queued, partition=self._partition)
        set_("easel_admission_in_flight", len(state.in_flight), partition=self._partition)
        if self._version != rules.directory.version:
            # Tenants that are new, or that have left the file.
            self._version = rules.directory.version
            self._take_away_tenants()
            changed = state.accounts
        for tenant in changed:
            if tenant in rules.directory.tenants:
                count = OpenCount(state.waiting_of(tenant), state.in_flight.of_tenant[tenant])
                set_("easel_tenant_queued", count.queued, tenant=tenant)
                set_("easel_tenant_running", count.running, tenant=tenant)
                self._open[tenant] = count

    @property
    def open(self) -> Mapping[str, OpenCount]:
        """What its tenants have open, as it was last shown."""
        return self._open

    def show_lag(self, lag: Mapping[str, int]) -> None:
        """How many records of each input are not yet decided."""
        if self._gone:
            return
        for name, records in lag.items():
            self._metrics.set("easel_admission_lag", records, partition=self._partition, input=name)
            self._inputs.add(name)

    def clear(self) -> None:
        """The partition is not here any more; what the end of its last batch would show is not shown."""
        self._gone = True
        self._take_away_tenants()
        for name in self._inputs:
            self._metrics.remove("easel_admission_lag", partition=self._partition, input=name)
        self._inputs.clear()
        for gauge in ("easel_admission_queued", "easel_admission_in_flight"):
            self._metrics.remove(gauge, partition=self._partition)

    def _take_away_tenants(self) -> None:
        for tenant in self._open:
            self._metrics.remove("easel_tenant_queued", tenant=tenant)
            self._metrics.remove("easel_tenant_running", tenant=tenant)
        self._open.clear()


def most_open(partitions: Iterable[PartitionGauges]) -> dict[str, OpenCount]:
    """The tenants of these partitions that have something open, those with the most first, bounded for a heartbeat."""
    counts = [(tenant, count) for partition in partitions for tenant, count in partition.open.items() if any(count)]
    return dict(sorted(counts, key=lambda each: (-sum(each[1]), each[0]))[:_TOLD])


def show_pending(metrics: Metrics, catalog: Catalog, waiting: Iterable[Mapping[str, int]]) -> None:
    """The work that waits for each pool, of the milli-units that wait in each partition."""
    total: Counter[str] = Counter()
    for partition in waiting:
        total.update(partition)
    for pool in catalog.pools():
        metrics.set("easel_pending_units", total[pool] / 1000, pool=pool)


def show_fleet(metrics: Metrics, fleet: Fleet, catalog: Catalog, now_ms: int | None) -> None:
    """The workers of each pool that are heard at this moment; nobody before the broker's time is known."""
    for pool in catalog.pools():
        metrics.set("easel_pool_draining", pool in catalog.draining, pool=pool)
        beats = [
            heard.beat
            for heard in fleet.instances.values()
            if now_ms is not None and heard.beat.pool == pool and heard.is_alive(now_ms)
        ]
        states = [_state(beat) for beat in beats]
        for state in _STATES:
            metrics.set("easel_fleet_workers", states.count(state), pool=pool, state=state)
        taking = [beat for beat, state in zip(beats, states, strict=True) if state == "ready"]
        capacity, rate = (sum(b.capacity_milliunits for b in taking), sum(b.rate_milliunits_s for b in taking))
        metrics.set("easel_fleet_capacity_units", capacity / 1000, pool=pool)
        metrics.set("easel_fleet_rate_units_per_second", rate / 1000, pool=pool)
        metrics.set("easel_fleet_backlog_units", sum(b.backlog_milliunits for b in beats) / 1000, pool=pool)


def _state(beat: Heartbeat) -> str:
    if beat.draining:
        return "draining"
    return "ready" if beat.ready else "unready"
