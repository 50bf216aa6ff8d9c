"""The same seed makes the same faults; each is healed in time; what they cost is measured as it is defined."""

from __future__ import annotations

from itertools import pairwise

import pytest

from ops.chaos.faults import Damage
from ops.chaos.observer import Hidden, Report
from ops.chaos.recovery import others_gap_s, p95, recovery_s
from ops.chaos.schedule import KINDS, Fault, Kind, draw

BUSY = frozenset({0, 1, 3})


def test_the_same_seed_draws_the_same() -> None:
    assert draw(7, 600, 2, 6) == draw(7, 600, 2, 6)
    assert draw(7, 600, 2, 6) != draw(8, 600, 2, 6)


@pytest.mark.parametrize("seed", range(40))
def test_a_schedule_is_whole(seed: int) -> None:
    faults = draw(seed, 300, 2, 6)
    assert [fault.at_s for fault in faults] == sorted(fault.at_s for fault in faults)
    assert {fault.kind for fault in faults} == set(KINDS)
    assert all(fault.ends_s <= 297 for fault in faults)
    stops = [fault.lasts_s for fault in faults if fault.kind.action == "stop"]
    assert min(stops) > 3.0
    assert {fault.victim for fault in faults if fault.kind.target in ("broker", "store")} == {0}
    for which in ("admission", "worker", "broker", "store", "tenants"):
        for victim in range(6):
            mine = [
                fault
                for fault in faults
                if ("worker" if fault.kind.target == "engine" else fault.kind.target) == which
                and fault.victim == victim
            ]
            assert all(before.ends_s < after.at_s for before, after in pairwise(mine))


def damage(target: str, action: str, *, partitions: frozenset[int] = frozenset(), healed_ms: int = 13_000) -> Damage:
    kind = Kind(target, action)  # type: ignore[arg-type]
    return Damage(Fault(10.0, kind, 0, 1.0), 10_000, 10_000, healed_ms, partitions)


def test_a_partition_is_served_again_at_its_first_commit() -> None:
    commits = {0: [9_000, 12_000], 1: [10_030, 14_500], 2: [], 3: [10_500]}
    # What was in flight is no sign of life; an idle partition is not waited for; the last one counts.
    assert recovery_s(damage("admission", "kill", partitions=frozenset({0, 1, 2})), commits, [], BUSY) == 4.5
    assert recovery_s(damage("broker", "kill"), commits, [], BUSY) == 4.5
    assert recovery_s(damage("admission", "kill", partitions=frozenset({2})), commits, [], BUSY) is None


def test_jobs_are_served_again_at_the_first_report_on_one_of_them() -> None:
    hit = damage("worker", "kill")
    hit.jobs = {("acme", "a"): "w1", ("acme", "b"): "w1"}
    reports = [
        Report(10_020, ("acme", "a"), "w1"),
        Report(11_000, ("acme", "z"), "w2"),
        Report(12_500, ("acme", "b"), "w2"),
    ]
    assert recovery_s(hit, {}, reports, BUSY) == 2.5
    assert recovery_s(damage("worker", "kill"), {}, reports, BUSY) is None


def test_others_wait_as_long_as_a_record_of_theirs_lay_hidden() -> None:
    killed = damage("admission", "kill", partitions=frozenset({0, 1, 2}))
    hidden = [
        Hidden(11_000, 700, 3),
        Hidden(11_000, 9_000, 0),  # the victim's own
        Hidden(9_000, 9_000, 3),  # before it
        Hidden(15_000, 9_000, 3),  # after all was well again
    ]
    assert others_gap_s([killed], hidden, {0: 4.0}) == 0.7
    away = damage("broker", "restart", healed_ms=11_200)
    assert others_gap_s([killed, away], hidden, {0: 4.0, 1: 1.0}) == 0.0
    assert others_gap_s([damage("admission", "term")], hidden, {0: 4.0}) == 0.0


def test_the_95th_of_a_hundred() -> None:
    assert p95([float(n) for n in range(1, 101)]) == 95.0
    assert p95([3.0]) == 3.0
    assert p95([]) == 0.0
