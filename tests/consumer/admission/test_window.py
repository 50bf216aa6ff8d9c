"""How much of a pool may be out at once: no partition starves, and all of them together stay within bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumer.admission.fleet_view import Heard
from consumer.admission.window import Window, able, window_of
from tests.consumer.admission.fleets import worker

JOBS = 7

capacities = st.lists(st.one_of(st.just(0), st.integers(1, 10**9)), max_size=60)
weights = st.integers(0, 10**6)


def workers(capacity: list[int]) -> list[Heard]:
    return [worker(f"w{number}", capacity_milliunits=each) for number, each in enumerate(capacity)]


def bound(window: Window) -> int:
    assert window.milliunits is not None
    return window.milliunits


@given(capacities, weights, weights)
def test_no_partition_starves(capacity: list[int], own: int, others: int) -> None:
    window = window_of(workers(capacity), own, others, JOBS)
    # With nothing out there is always room, whatever the weights say; with one batch less a trifle as well.
    assert window.has_room(0, 0)
    if any(capacity):
        assert window.has_room(10**9, max(capacity) - 1)
    else:
        assert window.has_room(JOBS - 1, 10**18)
        assert not window.has_room(JOBS, 0)


@given(capacities.filter(any), st.lists(weights, min_size=1, max_size=48))
def test_all_together_have_the_window_and_a_batch_each(capacity: list[int], demand: list[int]) -> None:
    fleet, total = workers(capacity), sum(demand)
    shares = [bound(window_of(fleet, own, total - own, JOBS)) for own in demand]
    known = [each for each in capacity if each]
    window = 2 * len(capacity) * sum(known) // len(known)
    assert sum(shares) <= window + len(demand) * max(known)


@given(capacities.filter(any), weights, st.integers(0, 1000), weights)
def test_more_weight_is_never_less_room(capacity: list[int], own: int, more: int, others: int) -> None:
    fleet = workers(capacity)
    assert bound(window_of(fleet, own + more, others, JOBS)) >= bound(window_of(fleet, own, others, JOBS))
    assert bound(window_of(fleet, own, others + more, JOBS)) <= bound(window_of(fleet, own, others, JOBS))


def test_shares_follow_the_weights() -> None:
    fleet = workers([1_000] * 30)
    assert [bound(window_of(fleet, own, 10 - own, JOBS)) for own in (1, 3, 6)] == [6_000, 18_000, 36_000]


def test_who_has_run_nothing_yet_counts_as_the_mean() -> None:
    assert bound(window_of(workers([1_000, 3_000, 0]), 1, 0, JOBS)) == 12_000


def test_who_leaves_or_can_get_nothing_is_not_counted_on() -> None:
    heard = [worker("a"), worker("b", draining=True), worker("c", partitions=[])]
    assert [one.beat.instance for one in able(heard)] == ["a"]
