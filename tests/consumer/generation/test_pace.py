"""Capacity and rate of a worker, by a clock of the test."""

from __future__ import annotations

import pytest

from consumer.generation.pace import Pace


def run(pace: Pace, now: float, *, seconds: float, work: float, full: float = 8_000, steps: int = 10) -> float:
    pace.begin(full, now)
    for step in range(1, steps + 1):
        pace.progress(work / steps, now + seconds * step / steps)
    pace.end(now + seconds)
    return now + seconds


def test_nothing_is_known_before_the_first_batch() -> None:
    assert (Pace().capacity, Pace().rate(5.0)) == (0, 0)


def test_the_rate_is_work_by_time_of_running() -> None:
    pace, now = Pace(), 0.0
    for _ in range(5):
        # Idle between its batches, which says nothing about how fast it is.
        now = run(pace, now + 60, seconds=2, work=4_000)
    assert pace.rate(now) == pytest.approx(2_000, rel=0.01)
    assert pace.rate(now + 100) == pace.rate(now)
    assert pace.capacity == 8_000


@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_the_rate_follows_up_and_down(factor: float) -> None:
    pace, now = Pace(), 0.0
    for _ in range(10):
        now = run(pace, now, seconds=2, work=4_000)
    for _ in range(15):
        now = run(pace, now, seconds=2, work=4_000 * factor)
    assert pace.rate(now) == pytest.approx(2_000 * factor, rel=0.5)


def test_one_that_stands_still_loses_its_rate_within_seconds() -> None:
    pace, now = Pace(), 0.0
    for _ in range(10):
        now = run(pace, now, seconds=2, work=4_000)
    pace.begin(8_000, now)
    rates = [pace.rate(now + second) for second in (0, 2, 5, 10, 20)]
    assert rates == sorted(rates, reverse=True)
    assert rates[3] < rates[0] / 2
    assert rates[4] < rates[0] / 5


def test_the_capacity_leans_to_what_ran_lately() -> None:
    pace, now = Pace(), 0.0
    now = run(pace, now, seconds=1, work=100, full=1_000)
    assert pace.capacity == 1_000
    for _ in range(20):
        now = run(pace, now, seconds=1, work=100, full=5_000)
    assert pace.capacity == pytest.approx(5_000, rel=0.01)
