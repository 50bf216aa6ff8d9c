"""When a failed delivery is tried again: quickly at first, hours apart later, for a day."""

from __future__ import annotations

import pytest

from consumer.webhooks.schedule import Schedule

DAY_S = 86_400.0
DAY = Schedule(DAY_S)


def test_the_delays_grow_and_stay_within_a_fifth() -> None:
    bases = [5.0, 30.0, 120.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 14_400.0]
    for failures, base in enumerate(bases, start=1):
        drawn = [DAY.delay_s(failures, f"event-{n}") for n in range(200)]
        assert base * 0.8 <= min(drawn) < base * 0.85
        assert base * 1.15 < max(drawn) <= base * 1.2
        assert DAY.delay_s(failures, "event-7") == drawn[7]


def test_an_event_is_tried_for_a_day_and_no_longer() -> None:
    for n in range(50):
        now_ms, failures = 1_000, 1
        while (due := DAY.next_ms(since_ms=1_000, now_ms=now_ms, failures=failures, name=f"e{n}")) is not None:
            assert now_ms < due <= 1_000 + DAY_S * 1_000
            now_ms, failures = due, failures + 1
        assert 9 <= failures <= 13
        assert now_ms > 1_000 + (DAY_S - 14_400 * 1.2) * 1_000


@pytest.mark.parametrize(("asked_s", "waits_s"), [(None, 5), (1.0, 5), (300.0, 300), (1e9, 6 * 3_600)])
def test_what_the_receiver_asks_for_counts_within_reason(asked_s: float | None, waits_s: float) -> None:
    due = DAY.next_ms(since_ms=0, now_ms=0, failures=1, name="x", asked_s=asked_s)
    assert due == pytest.approx(waits_s * 1_000, rel=0.2)


def test_asking_for_more_time_than_there_is_ends_it() -> None:
    assert Schedule(60.0).next_ms(since_ms=0, now_ms=0, failures=1, name="x", asked_s=61.0) is None
