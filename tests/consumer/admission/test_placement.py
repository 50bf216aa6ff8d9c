"""Where a job goes: the shortest queue, found anew in fractions by one who looks at everything."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from consumer.admission.fleet_view import Heard
from consumer.admission.placement import Queues
from tests.consumer.admission.fleets import worker
from tests.consumer.admission.world import NOON_MS


@st.composite
def pools(draw: st.DrawFn) -> list[Heard]:
    return [
        worker(
            f"w{number:02}",
            backlog_milliunits=draw(st.integers(0, 20)) * 1_000,
            rate_milliunits_s=draw(st.sampled_from([0, 1_000, 2_000, 5_000])),
            models=draw(st.sampled_from([{}, {"m": "r"}, {"m": "r", "n": "r"}])),
            partitions=sorted(draw(st.sets(st.integers(0, 47), min_size=1, max_size=5))),
        )
        for number in range(draw(st.integers(1, 12)))
    ]


works = st.dictionaries(st.sampled_from([f"w{number:02}" for number in range(14)]), st.integers(0, 30_000))


@given(pools(), works, works, st.integers(0, 11))
def test_the_shortest_wait_wins(pool: list[Heard], sent: dict[str, int], named: dict[str, int], partition: int) -> None:
    rates = [heard.beat.rate_milliunits_s for heard in pool]
    known = [rate for rate in rates if rate]
    typical = max(1, sum(known) // len(known)) if known else 1

    def wait(heard: Heard) -> Fraction:
        name, rate = heard.beat.instance, heard.beat.rate_milliunits_s or typical
        return Fraction(heard.beat.backlog_milliunits + max(0, sent.get(name, 0) - named.get(name, 0)), rate)

    chosen = Queues(pool, partition, NOON_MS, named).shortest(sent, "n")
    assert chosen is not None
    best = min(wait(heard) for heard in pool)
    # To the millisecond: below it, a loaded model and the faster worker decide.
    assert wait(chosen) - best < Fraction(1, 1000)
    tied = [heard for heard in pool if int(wait(heard) * 1000) == int(wait(chosen) * 1000)]
    if any("n" in heard.beat.models for heard in tied):
        assert "n" in chosen.beat.models
        tied = [heard for heard in tied if "n" in heard.beat.models]
    assert (chosen.beat.rate_milliunits_s or typical) == max(heard.beat.rate_milliunits_s or typical for heard in tied)


def test_what_no_report_names_yet_counts() -> None:
    pool = [worker("a", rate_milliunits_s=1_000), worker("b", rate_milliunits_s=1_000, backlog_milliunits=1_500)]
    queues = Queues(pool, 0, NOON_MS, {"a": 3_000})
    found = [queues.shortest({"a": sent}, "m") for sent in (3_000, 4_000, 5_000)]
    # 3,000 are in a's own backlog, which has ended them; the next 1,000 are unseen, and 2,000 are more than b has.
    assert [heard and heard.beat.instance for heard in found] == ["a", "a", "b"]


def test_others_are_taken_to_do_as_we_do() -> None:
    pool = [worker("a", rate_milliunits_s=1_000), worker("b", rate_milliunits_s=1_000, backlog_milliunits=6_000)]
    for weights, name in (((1, 1), "a"), ((2, 3), "a"), ((1, 20), "b")):
        found = Queues(pool, 0, NOON_MS, {}, *weights).shortest({"a": 900}, "m")
        assert found is not None
        assert found.beat.instance == name


@given(pools(), st.integers(0, 11), st.integers(1, 50))
def test_a_guess_is_off_by_less_than_two_reports(pool: list[Heard], partition: int, all_weight: int) -> None:
    rates = [heard.beat.rate_milliunits_s for heard in pool if heard.beat.rate_milliunits_s]
    typical = max(1, sum(rates) // len(rates)) if rates else 1
    waits = {h.beat.instance: h.beat.backlog_milliunits * 1000 // (h.beat.rate_milliunits_s or typical) for h in pool}
    chosen = Queues(pool, partition, NOON_MS, {}, 1, all_weight).shortest({}, "m")
    assert chosen is not None
    assert waits[chosen.beat.instance] - min(waits.values()) <= 2_000 * (all_weight - 1) // all_weight


def test_partitions_leave_the_best_to_each_other() -> None:
    pool = [worker(f"w{n}", rate_milliunits_s=1_000, backlog_milliunits=1_000 + 50 * n) for n in range(6)]
    chosen = [Queues(pool, partition, NOON_MS, {}, 1, 6).shortest({}, "m") for partition in range(6)]
    assert len({heard.beat.instance for heard in chosen if heard}) >= 3


def test_a_worker_goes_on_between_two_reports_but_not_for_ever() -> None:
    silent = worker("a", rate_milliunits_s=1_000, backlog_milliunits=4_000)
    for later_ms, backlog, name in (
        (1_000, 2_900, "b"),
        (1_000, 3_100, "a"),
        (60_000, 1_900, "b"),
        (60_000, 2_100, "a"),
    ):
        heard = [silent, worker("b", at_ms=NOON_MS + later_ms, rate_milliunits_s=1_000, backlog_milliunits=backlog)]
        found = Queues(heard, 0, NOON_MS + later_ms, {}).shortest({}, "m")
        assert found is not None
        assert found.beat.instance == name


def test_partitions_do_not_all_run_to_the_same_idle_worker() -> None:
    pool = [worker(f"w{number}", rate_milliunits_s=1_000) for number in range(6)]
    chosen = [Queues(pool, partition, NOON_MS, {}).shortest({}, "m") for partition in range(6)]
    assert len({heard.beat.instance for heard in chosen if heard}) == 6


def test_an_admission_partition_keeps_to_its_own_jobs_partition() -> None:
    one = worker("a", partitions=[9, 3, 5])
    assert [Queues([one], partition, NOON_MS, {}).place(one).partition for partition in range(4)] == [3, 5, 9, 3]


def test_nobody_to_send_to() -> None:
    assert Queues([], 0, NOON_MS, {}).shortest({}, "m") is None
