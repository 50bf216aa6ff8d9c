"""Who comes alone waits for nobody; a crowd shares its transactions, for a while that is bounded."""

from __future__ import annotations

import pytest

from consumer.admission.gathering import Pause, pause_after
from transport.records import Record

OUTCOMES = "easel.outcomes"


def records(requests: int, outcomes: int = 0) -> list[Record]:
    topics = ["easel.requests"] * requests + [OUTCOMES] * outcomes
    return [Record(topic, 0, number, 0, b"acme", b"{}", ()) for number, topic in enumerate(topics)]


@pytest.mark.parametrize("requests", [0, 1, 2])
def test_after_one_or_two_nobody_waits(requests: int) -> None:
    assert pause_after(records(requests), OUTCOMES, 0.01, waiting=9) is None


def test_after_some_the_next_wait_for_those_who_come_back() -> None:
    assert pause_after(records(4), OUTCOMES, 0.005) == Pause(0.015, 4)
    assert pause_after(records(3), OUTCOMES, 0.005, waiting=5) == Pause(0.015, 8)
    assert pause_after(records(2, outcomes=1), OUTCOMES, 0.005) == Pause(0.015, 3)


def test_nobody_waits_long_for_a_transaction_that_was_slow() -> None:
    assert pause_after(records(500), OUTCOMES, 3.0) == Pause(0.03, 500)


def test_ends_of_jobs_wait_for_each_other_however_fast_it_goes() -> None:
    pause = pause_after(records(0, outcomes=4), OUTCOMES, 0.001)
    assert pause is not None and pause.seconds == 0.02 and pause.records > 100_000


def test_a_storm_of_forged_requests_makes_nobody_wait() -> None:
    assert pause_after(records(40), OUTCOMES, 0.01, waiting=40, letters=38) is None
    assert pause_after(records(5), OUTCOMES, 0.01, letters=90) is None
