"""The bench of fairness on small fleets and short times: its bars hold, and it says so when they don't."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ops.bench.fairness import cases
from ops.bench.fairness.bench import IDLE, JAIN, WAIT, WEIGHTS, report
from ops.bench.fairness.cases import Busy
from ops.bench.fairness.workers import Speed
from ops.bench.report import save

ONE, TWO, FOUR = cases.neighbours(3)


def test_equal_tenants_of_many_partitions_get_equal_work() -> None:
    found = cases.busy({f"tenant-{number}": 1 for number in range(12)}, cases.uneven(4), 30, mixed=False)
    assert cases.jain(found.by_weight) >= JAIN
    assert found.idle_share <= IDLE


def test_weights_on_uneven_workers() -> None:
    found = cases.busy({ONE: 1, TWO: 2, FOUR: 4}, cases.uneven(4), 30)
    assert cases.weights_error(found) <= WEIGHTS
    assert found == cases.busy({ONE: 1, TWO: 2, FOUR: 4}, cases.uneven(4), 30), "the same schedule every time"


def test_a_light_tenant_beside_a_flood() -> None:
    found = cases.light([Speed(room=8, full_ms=1_000)] * 8, 12)
    assert found.ratio <= WAIT


def test_low_priority_is_served_within_its_bound() -> None:
    found = cases.ageing(20)
    assert found.low_done > 5
    assert found.passed_after_ms <= found.bound_ms


def test_a_missed_bar_is_told_and_all_is_kept(tmp_path: Path) -> None:
    good = Busy({"a": 1, "b": 1}, {"a": 100, "b": 100}, 0.0)
    waits = cases.Light([10.0] * 20, [900.0] * 20, 1_000.0)
    aged = cases.Ageing(passed_after_ms=1_000, low_done=3)
    held = report(good, good, waits, aged, good, good)
    assert held.missed == []
    assert held.line == {"jain": 1.0, "weights_error": 0.0, "light_wait_ratio": 0.891, "idle_share": 0.0}
    path = save(held, {"at": "2026-11-21T12:00:00+00:00"}, tmp_path)
    assert path.with_suffix(".svg").stat().st_size > 10_000

    unfair = Busy({"a": 1, "b": 1}, {"a": 100, "b": 50}, 0.3)
    late = replace(waits, beside_ms=[9_000.0] * 20)
    missed = report(unfair, good, late, replace(aged, passed_after_ms=10**6), good, good)
    assert len(missed.missed) == 4
