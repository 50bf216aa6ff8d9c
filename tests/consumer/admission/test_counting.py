"""What a committed batch shows: per tenant, per partition, the fleet; and that no unknown name becomes a label."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from consumer.admission.counting import count
from consumer.admission.fleet_view import Fleet, Heard
from consumer.admission.gauges import PartitionGauges, most_open, show_fleet, show_pending
from consumer.metrics import Metrics
from schemas.fleet import Heartbeat
from tests.consumer.admission.world import (
    NOON_MS,
    World,
    catalog,
    directory,
    failed,
    request_id,
    rules,
    succeeded,
    tenant,
)


class Watched(World):
    """A partition whose batches are counted as its runner does it."""

    def watch(self) -> Watched:
        self.metrics = Metrics()
        self.gauges = PartitionGauges(self.metrics, self.rules.partition)
        return self

    def decide(self, *records: object) -> None:
        self.take(*records)  # type: ignore[arg-type]
        batch = self.batches[-1]
        count(self.metrics, self.rules, batch, 0.01)
        self.gauges.show(self.state, self.rules, batch.tenants)

    def value(self, name: str, **labels: object) -> float:
        return self.metrics.value(name, **labels)

    def samples(self, pattern: str) -> list[str]:
        return [line for line in self.metrics.render().decode().splitlines() if re.match(pattern, line)]


def watched(*, window: int = 8, **limits: Any) -> Watched:
    return Watched(rules(tenant("acme", **limits), window=window)).watch()


def test_each_tenant_has_its_own_numbers() -> None:
    world = watched(window=1, queued=2)
    world.decide(*(world.request(number) for number in range(4)))
    partition = world.rules.partition
    assert world.value("easel_admission_accepted_total", tenant="acme") == 3
    assert world.value("easel_admission_rejected_total", tenant="acme", code="queue_full") == 1
    assert world.value("easel_tenant_queued", tenant="acme") == 2
    assert world.value("easel_tenant_running", tenant="acme") == 1
    assert world.value("easel_units_held_total", tenant="acme") == 3
    assert world.value("easel_admission_queued", partition=partition) == 2
    world.decide(world.outcome(succeeded(request_id(0))))
    assert world.value("easel_admission_ended_total", tenant="acme", end="succeeded") == 1
    assert world.value("easel_units_settled_total", tenant="acme") == 1
    assert world.value("easel_tenant_queued", tenant="acme") == 1


def test_the_times_are_those_until_the_turn_and_until_the_end() -> None:
    world = watched(window=1)
    world.decide(world.request(0), world.request(1))
    world.now_ms += 4_000
    world.decide(world.outcome(failed(request_id(0))))
    world.now_ms += 2_000
    world.decide(world.outcome(succeeded(request_id(1))))

    def total(name: str) -> tuple[float, float]:
        read = world.metrics.registry.get_sample_value
        label = {"tenant": "acme"}
        return read(f"{name}_count", label) or 0, read(f"{name}_sum", label) or 0

    assert total("easel_tenant_wait_seconds") == (2, 4)
    assert total("easel_tenant_turnaround_seconds") == (2, 4 + 6)


def test_a_second_attempt_is_not_a_second_wait() -> None:
    world = watched()
    world.decide(world.request(0))
    world.decide(world.outcome(failed(request_id(0), retryable=True)))
    world.now_ms += 60_000
    world.decide()
    assert len(world.state.in_flight) == 1
    assert world.metrics.registry.get_sample_value("easel_tenant_wait_seconds_count", {"tenant": "acme"}) == 1


def test_what_waits_for_another_attempt_is_pending_as_well() -> None:
    world = watched(window=1)

    def pending() -> tuple[float, float]:
        elsewhere = {"default": 500, "big": 250}
        show_pending(world.metrics, world.rules.catalog, [world.state.waiting_work, elsewhere])
        default, big = (world.value("easel_pending_units", pool=pool) for pool in ("default", "big"))
        return default - 0.5, big

    world.decide(*(world.request(number, images=2) for number in range(3)))
    assert pending() == (4, 0.25)
    # One waits for its retry, one left in its place, one is in line.
    world.decide(world.outcome(failed(request_id(0), retryable=True)))
    assert (world.state.queued, len(world.state.in_flight), pending()[0]) == (1, 1, 4)
    for name in (request_id(1), request_id(2)):
        world.decide(world.outcome(succeeded(name)))
    assert pending()[0] == 2
    world.now_ms += 60_000
    world.decide()
    assert pending()[0] == 0
    world.decide(world.outcome(succeeded(request_id(0), attempt=2)))
    assert pending()[0] == 0
    assert world.value("easel_admission_ended_total", tenant="acme", end="succeeded") == 3


def test_who_is_not_in_the_file_is_no_label() -> None:
    world = watched()
    world.decide(world.request(0))
    world.rules = replace(world.rules, directory=directory(tenant("bolt"), version=2))
    world.decide(world.outcome(succeeded(request_id(0))), world.outcome(succeeded(request_id(7), who="acme")))
    assert world.value("easel_admission_ended_total", tenant="removed", end="succeeded") == 1
    assert world.samples("easel_tenant_(queued|running)") == [], "the gauges of a tenant that left the file are gone"
    world.decide(world.request(1))
    assert not world.samples('easel_admission_accepted_total.*"bolt"')


def test_a_partition_that_is_given_away_takes_its_gauges_along() -> None:
    world = watched()
    world.decide(world.request(0))
    world.gauges.show_lag({"requests": 3})
    gauges = "easel_(tenant_queued|tenant_running|admission_queued|admission_in_flight|admission_lag){"
    assert len(world.samples(gauges)) == 5
    assert most_open([world.gauges]) == {"acme": (0, 1)}
    world.gauges.clear()
    assert most_open([world.gauges]) == {}
    world.gauges.show(world.state, world.rules, ["acme"])
    world.gauges.show_lag({"requests": 3})
    assert world.samples(gauges) == []
    assert world.value("easel_admission_accepted_total", tenant="acme") == 1, "what was counted stays counted"


def test_the_fleet_as_this_instance_hears_it() -> None:
    def worker(name: str, at_ms: int = NOON_MS, **more: object) -> Heard:
        beat = {"instance": name, "stage": "generation", "ready": True, "pool": "default", **more}
        return Heard(Heartbeat.model_validate(beat), at_ms)

    heard = [
        worker("a", capacity_milliunits=4_000, rate_milliunits_s=500, backlog_milliunits=1_000),
        worker("b", draining=True, capacity_milliunits=4_000, rate_milliunits_s=500, backlog_milliunits=1_000),
        worker("c", ready=False),
        worker("d", at_ms=NOON_MS - 60_000),
    ]
    metrics = Metrics()
    show_fleet(
        metrics,
        Fleet({one.beat.instance: one for one in heard}),
        catalog().model_copy(update={"draining": ["big"]}),
        NOON_MS,
    )
    workers = {
        state: metrics.value("easel_fleet_workers", pool="default", state=state) for state in ("ready", "draining")
    }
    assert workers == {"ready": 1, "draining": 1}
    assert metrics.value("easel_fleet_workers", pool="default", state="unready") == 1
    assert metrics.value("easel_fleet_workers", pool="big", state="ready") == 0
    assert [metrics.value("easel_pool_draining", pool=pool) for pool in ("default", "big")] == [0, 1]
    assert metrics.value("easel_fleet_capacity_units", pool="default") == 4
    assert metrics.value("easel_fleet_rate_units_per_second", pool="default") == 0.5
    assert metrics.value("easel_fleet_backlog_units", pool="default") == 2
