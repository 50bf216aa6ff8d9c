"""The two loops of ``easel bench continuous`` in virtual time, by figures that a person can check."""

from __future__ import annotations

import pytest

from ops.bench.continuous.arrivals import MOST, STEPS, Arrival, Outcome, arrivals, asked
from ops.bench.continuous.virtual import Costs, capacity, continuous, static

COSTS = Costs({count: 1.0 + count / 10 for count in range(1, MOST + 1)}, dict.fromkeys(range(1, MOST + 1), 0.5))


def test_arrivals_are_the_same_each_time_and_stretch_with_the_rate() -> None:
    slow, fast = arrivals(500, 2.0, 7), arrivals(500, 4.0, 7)
    assert slow == arrivals(500, 2.0, 7)
    assert [one.steps for one in slow] == [one.steps for one in fast] == asked(500, 7)
    assert set(asked(500, 7)) == set(STEPS)
    assert [one.at for one in slow] == pytest.approx([2 * one.at for one in fast])
    assert slow[-1].at == pytest.approx(250, rel=0.15)


def test_a_short_one_waits_for_a_long_batch_unless_it_joins() -> None:
    both = [Arrival(0, 20, 0.0), Arrival(1, 4, 2.0)]
    # 20 steps of 1.1 s and half a second; then 4 more.
    assert static(both, COSTS).ended == pytest.approx([22.5, 22.5 + 4.9])
    # It joins after the second step, and makes four of 1.2 s with the other; each leaving costs half a second.
    assert continuous(both, COSTS).ended == pytest.approx([20 * 1.1 + 4 * 0.1 + 2 * 0.5, 2 * 1.1 + 4 * 1.2 + 0.5])


def test_static_batches_are_of_equal_steps_and_no_more_than_the_budget() -> None:
    waiting = [Arrival(number, 4 if number % 2 else 8, 0.0) for number in range(2 * MOST + 2)]
    ended = static(waiting, COSTS).ended
    assert len(set(ended)) == 4
    assert ended.count(ended[0]) == MOST


def test_no_more_join_than_there_is_room_for() -> None:
    waiting = [Arrival(number, 4, 0.0) for number in range(MOST + 1)]
    *first, last = continuous(waiting, COSTS).ended
    assert max(first) == pytest.approx(4 * 1.8 + MOST * 0.5)
    assert last == pytest.approx(max(first) + 4 * 1.1 + 0.5)


def test_what_is_told_of_a_run() -> None:
    run = Outcome([Arrival(number, 4 if number < 20 else 8, 1.0) for number in range(40)], [2.0] * 19 + [9.0] * 21)
    assert run.p95(4) == pytest.approx(1.35)
    assert run.p95() == 8.0
    assert run.per_s == pytest.approx(5.0)
    assert capacity([4] * MOST, COSTS) == pytest.approx(MOST / (4 * 1.8 + 0.5))
