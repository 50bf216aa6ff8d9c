"""Who comes alone waits for nobody; a crowd shares its transactions, for a while that is bounded."""

from __future__ import annotations

import pytest

from consumer.admission.gathering import pause_after
from transport.records import Record

OUTCOMES = "easel.outcomes"


def records(requests: int, outcomes: int = 0) -> list[Record]:
    topics = ["easel.requests"] * requests + [OUTCOMES] * outcomes
    return [Record(topic, 0, number, 0, b"acme", b"{}", ()) for number, topic in enumerate(topics)]


@pytest.mark.parametrize("requests", [0, 1, 2])
def test_after_one_or_two_nobody_waits(requests: int) -> None:
    assert pause_after(records(requests), OUTCOMES, 0.01) == 0.0


def test_after_some_the_next_wait_as_the_machine_is_busy() -> None:
    assert pause_after(records(3), OUTCOMES, 0.005) == 0.005
    assert pause_after(records(2, outcomes=1), OUTCOMES, 0.005) == 0.005


def test_nobody_waits_long_for_a_transaction_that_was_slow() -> None:
    assert pause_after(records(500), OUTCOMES, 3.0) == 0.02


def test_ends_of_jobs_wait_for_each_other_however_fast_it_goes() -> None:
    assert pause_after(records(0, outcomes=4), OUTCOMES, 0.001) == 0.02


def test_a_storm_of_forged_requests_makes_nobody_wait() -> None:
    assert pause_after(records(40), OUTCOMES, 0.01, letters=38) == 0.0
    assert pause_after(records(5), OUTCOMES, 0.01, letters=90) == 0.0
