"""The broker's clock, as every instance has it."""

from __future__ import annotations

import time

from consumer.fleet import BrokerClock

YEAR_MS = 365 * 86_400_000


def test_it_is_the_brokers_time_and_goes_on_between_acks() -> None:
    clock = BrokerClock()
    assert clock.now_ms() is None
    clock.heard(YEAR_MS)
    first = clock.now_ms()
    assert first is not None
    assert 0 <= first - YEAR_MS < 5_000
    time.sleep(0.02)
    assert (clock.now_ms() or 0) >= first + 20


def test_it_never_runs_backwards() -> None:
    clock = BrokerClock()
    clock.heard(YEAR_MS)
    before = clock.now_ms() or 0
    clock.heard(YEAR_MS - 60_000)
    assert (clock.now_ms() or 0) >= before
