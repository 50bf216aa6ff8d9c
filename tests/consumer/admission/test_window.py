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
    window = window_of(workers(capacity), own, others, partitions=12, jobs=JOBS)
    # With nothing out there is always room, whatever the weights say and however large the job.
    assert window.has_room(0, 0, 10**18)
    if not any(capacity):
        assert window.has_room(JOBS - 1, 10**18, 1)
        assert not window.has_room(JOBS, 0, 1)


@given(capacities.filter(any), st.lists(weights, min_size=1, max_size=48), st.integers(1, 10**6))
def test_all_together_have_the_window_and_a_job_each(capacity: list[int], demand: list[int], job: int) -> None:
    fleet, total = workers(capacity), sum(demand)
    known = [each for each in capacity if each]
    out = 0
    for own in filter(None, demand):
        window, mine = window_of(fleet, own, total - own, partitions=12, jobs=JOBS), 0
        full = bound(window) // job
        while window.has_room(1, mine, job):
            # All but the last few at once: shares may be millions of jobs.
            mine = max(mine + job, (full - 2) * job)
        out += mine
    assert out <= 2 * len(capacity) * sum(known) // len(known) + len(demand) * job


@given(capacities.filter(any), weights.filter(bool), st.integers(0, 1000), weights)
def test_more_weight_is_never_less_room(capacity: list[int], own: int, more: int, others: int) -> None:
    fleet = workers(capacity)
    assert bound(window_of(fleet, own + more, others, partitions=12, jobs=JOBS)) >= bound(
        window_of(fleet, own, others, partitions=12, jobs=JOBS)
    )
    assert bound(window_of(fleet, own, others + more, partitions=12, jobs=JOBS)) <= bound(
        window_of(fleet, own, others, partitions=12, jobs=JOBS)
    )


def test_shares_follow_the_weights() -> None:
    fleet = workers([1_000] * 30)
    assert [bound(window_of(fleet, own, 10 - own, partitions=12, jobs=JOBS)) for own in (1, 3, 6)] == [
        6_000,
        18_000,
        36_000,
    ]


def test_an_equal_part_or_a_batch_until_the_fleet_was_told() -> None:
    assert bound(window_of(workers([1_000] * 30), 0, 0, partitions=12, jobs=JOBS)) == 5_000
    assert bound(window_of(workers([1_000] * 3), 0, 5, partitions=12, jobs=JOBS)) == 1_000


def test_a_job_leaves_when_half_of_it_fits() -> None:
    window = window_of(workers([1_000]), 1, 0, partitions=12, jobs=JOBS)
    assert [window.has_room(1, out, 400) for out in (1_799, 1_800, 1_801)] == [True, True, False]


def test_who_has_run_nothing_yet_counts_as_the_mean() -> None:
    assert bound(window_of(workers([1_000, 3_000, 0]), 1, 0, partitions=12, jobs=JOBS)) == 12_000


def test_who_leaves_or_can_get_nothing_is_not_counted_on() -> None:
    heard = [worker("a"), worker("b", draining=True), worker("c", partitions=[])]
    assert [one.beat.instance for one in able(heard)] == ["a"]
