"""Jobs and their deliveries: what runs, what is forgotten, what is done."""

from __future__ import annotations

import pytest

from consumer.generation.backlog import Backlog
from consumer.generation.jobs import Job
from schemas.jobs import JobAssigned
from tests.consumer.generation.harness import job
from transport.records import TopicPartition

FIRST, SECOND = TopicPartition("jobs", 0), TopicPartition("jobs", 1)


@pytest.fixture
def backlog() -> Backlog:
    made = Backlog(lambda _: 8)
    made.offsets.assign(FIRST, 0)
    made.offsets.assign(SECOND, 0)
    return made


def deliver(backlog: Backlog, assigned: JobAssigned, offset: int, tp: TopicPartition = FIRST) -> Job | None:
    delivery = backlog.offsets.deliver(tp, offset)
    assert delivery is not None
    return backlog.admit(assigned, None, delivery)


def enqueued(backlog: Backlog, assigned: JobAssigned, offset: int) -> Job:
    made = deliver(backlog, assigned, offset)
    assert made is not None
    backlog.enqueue(made)
    return made


def owners(backlog: Backlog) -> set[Job]:
    taken = backlog.take()
    return {piece.owner for piece in taken[1]} if taken else set()


def test_a_job_that_is_delivered_again_joins_the_one_that_runs(backlog: Backlog) -> None:
    assigned = job()
    made = enqueued(backlog, assigned, 0)
    made.announced = True
    backlog.revoke([FIRST])
    backlog.offsets.assign(FIRST, 0)
    assert deliver(backlog, assigned, 0) is None
    assert backlog.offsets.due() == {}
    backlog.end(made)
    assert backlog.offsets.due() == {FIRST: 1}


def test_a_job_that_just_ended_is_done_at_once(backlog: Backlog) -> None:
    assigned = job()
    backlog.end(enqueued(backlog, assigned, 0))
    assert deliver(backlog, assigned, 3) is None
    assert backlog.offsets.due() == {FIRST: 4}


def test_another_attempt_is_another_job(backlog: Backlog) -> None:
    first = job()
    enqueued(backlog, first, 0)
    assert deliver(backlog, job(request_id=first.request_id, attempt=2), 1) is not None
    assert deliver(backlog, job("globex", request_id=first.request_id), 2) is not None


def test_what_has_not_begun_is_forgotten_with_its_partition(backlog: Backlog) -> None:
    begun, waiting = enqueued(backlog, job(), 0), enqueued(backlog, job(), 1)
    begun.announced = True
    other = deliver(backlog, job(), 0, SECOND)
    backlog.revoke([FIRST])
    assert set(backlog.jobs) == {begun, other}
    assert owners(backlog) == {begun}
    # One whose preparation ends only now is not taken up.
    backlog.enqueue(waiting)
    assert owners(backlog) == set()


def test_a_job_that_is_forgotten_may_come_back(backlog: Backlog) -> None:
    assigned = job()
    enqueued(backlog, assigned, 0)
    backlog.revoke([FIRST])
    backlog.offsets.assign(FIRST, 0)
    again = deliver(backlog, assigned, 0)
    assert again is not None
    backlog.enqueue(again)
    assert owners(backlog) == {again}


def test_a_lost_job_of_a_partition_that_is_gone_is_not_kept(backlog: Backlog) -> None:
    assigned = job()
    lost = enqueued(backlog, assigned, 0)
    lost.announced = True
    assert owners(backlog) == {lost}
    backlog.revoke([FIRST])
    lost.announced = False
    backlog.put_back(lost, [0])
    assert backlog.jobs == []
    backlog.offsets.assign(FIRST, 0)
    assert deliver(backlog, assigned, 0) is not None


def test_a_job_whose_outcome_is_on_its_way_neither_runs_nor_starts_anew(backlog: Backlog) -> None:
    assigned = job(images=10)
    closing = enqueued(backlog, assigned, 0)
    assert len(owners(backlog)) == 1
    closing.closing = True
    assert owners(backlog) == set()
    assert deliver(backlog, assigned, 1) is None
    backlog.end(closing)
    assert backlog.offsets.due() == {FIRST: 2}
