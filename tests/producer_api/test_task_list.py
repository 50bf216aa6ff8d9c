"""Lists of tasks: what fits, in order, page by page, by an index, and as fast with many as with few."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from producer_api.task_file import Row, TaskFile, Timed
from producer_api.task_list import Wanted
from schemas.ids import new_id, nth_id
from tests.producer_api.support import OTHER, TENANT, accepted, rejected, succeeded

MANY = 100_000
BASE = new_id()


@pytest.fixture
def file(tmp_path: Path) -> Iterator[TaskFile]:
    file = TaskFile(tmp_path / "tasks.sqlite", "c/easel", not_before_ms=0)
    yield file
    file.close()


def ids(file: TaskFile, wanted: Wanted) -> list[int]:
    """The numbers of what is found."""
    return [NUMBERS[id_] for id_, _ in file.page(wanted, 0)]


NUMBERS = {nth_id(BASE, number): number for number in range(20)}


def fill(file: TaskFile) -> None:
    """Twenty tasks: each third of a group, each second of a site, the first five ended; one of another tenant."""
    events = []
    for id_, number in NUMBERS.items():
        metadata = {"site": "a" if number % 2 else "b", "post": str(number // 4)}
        group = "spring" if number % 3 == 0 else None
        events.append(accepted(id_).model_copy(update={"group": group, "metadata": metadata}))
    events.append(accepted(new_id(), OTHER).model_copy(update={"group": "spring", "metadata": {"site": "a"}}))
    file.apply([Timed(event, 10) for event in events], {})
    file.apply([Timed(succeeded(id_), 20) for id_, number in NUMBERS.items() if number < 5], {})


def test_the_newest_come_first_and_pages_join_without_a_gap(file: TaskFile) -> None:
    fill(file)
    found: list[int] = []
    last = None
    while page := file.page(Wanted(TENANT, 7, after=last), 0):
        last = page[-1][0]
        found += [NUMBERS[id_] for id_, _ in page]
    assert found == list(range(19, -1, -1))


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (Wanted(TENANT, 50, state="succeeded"), [4, 3, 2, 1, 0]),
        (Wanted(TENANT, 50, group="spring"), [18, 15, 12, 9, 6, 3, 0]),
        (Wanted(TENANT, 50, group="spring", oldest_first=True), [0, 3, 6, 9, 12, 15, 18]),
        (Wanted(TENANT, 50, group="spring", state="succeeded"), [3, 0]),
        (Wanted(TENANT, 50, metadata={"post": "2"}), [11, 10, 9, 8]),
        (Wanted(TENANT, 50, metadata={"post": "2", "site": "a"}), [11, 9]),
        (Wanted(TENANT, 50, metadata={"site": "a"}, state="succeeded"), [3, 1]),
        (Wanted(TENANT, 2, metadata={"site": "a"}, after=nth_id(BASE, 7)), [5, 3]),
        (Wanted(TENANT, 50, metadata={"site": "a", "post": "none"}), []),
        (Wanted("nobody", 50), []),
    ],
)
def test_what_fits(file: TaskFile, wanted: Wanted, numbers: list[int]) -> None:
    fill(file)
    assert ids(file, wanted) == numbers
    if wanted.after is None:
        assert sum(file.counts(wanted, 0).values()) == len(numbers)


def test_counts_are_by_state(file: TaskFile) -> None:
    fill(file)
    assert file.counts(Wanted(TENANT, 1, group="spring"), 0) == {"succeeded": 2, "accepted": 5}


def test_what_is_purged_leaves_no_label_behind(file: TaskFile, tmp_path: Path) -> None:
    fill(file)
    assert file.purge(15) == 16
    assert ids(file, Wanted(TENANT, 50, metadata={"site": "a"})) == [3, 1]
    file.close()
    with closing(sqlite3.connect(tmp_path / "tasks.sqlite")) as db:
        assert db.execute("SELECT count(*) FROM labels").fetchone() == (10,)


def test_what_is_too_old_is_not_listed_before_it_is_purged(file: TaskFile) -> None:
    fill(file)
    assert [NUMBERS[id_] for id_, _ in file.page(Wanted(TENANT, 50), 15)] == [4, 3, 2, 1, 0]


def test_a_refused_request_that_is_accepted_later_is_in_its_group(file: TaskFile) -> None:
    id_ = nth_id(BASE, 0)
    file.apply([Timed(rejected(id_), 1)], {})
    assert ids(file, Wanted(TENANT, 5, state="rejected")) == [0]
    file.apply([Timed(accepted(id_).model_copy(update={"group": "late"}), 2)], {})
    assert ids(file, Wanted(TENANT, 5, group="late")) == [0]


A_HUNDRED_THOUSAND = """
CREATE TEMP TABLE rows AS WITH RECURSIVE rows (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM rows WHERE n < {many} - 1)
SELECT n, '{prefix}' || printf('%012x', n) AS id FROM rows;
INSERT INTO tasks (tenant, id, state, created_ms, updated_ms, group_name)
SELECT '{tenant}', id, iif(n < 20, 'failed', 'succeeded'), 1, 1, 'group-' || (n / 30) FROM rows;
INSERT INTO labels SELECT '{tenant}', 'post', n % 5000, id FROM rows;
INSERT INTO labels SELECT '{tenant}', 'site', n % 2, id FROM rows;
"""


def test_with_a_hundred_thousand_tasks_a_page_takes_no_longer(file: TaskFile, tmp_path: Path) -> None:
    by_label = "labels USING PRIMARY KEY (tenant=? AND key=? AND value=?)"
    wanted = [
        (Wanted(TENANT, 20), "tasks USING PRIMARY KEY"),
        (Wanted(TENANT, 20, state="failed"), "tasks USING INDEX tasks_by_state"),
        (Wanted(TENANT, 20, group="group-7"), "tasks USING INDEX tasks_by_group"),
        (Wanted(TENANT, 20, metadata={"post": "77"}), by_label),
        (Wanted(TENANT, 20, metadata={"site": "1", "post": "77"}), by_label),
        (Wanted(TENANT, 10, metadata={"site": "1"}, state="failed"), "tasks USING INDEX tasks_by_state"),
        (Wanted(TENANT, 15, metadata={"site": "1"}, group="group-7"), "tasks USING INDEX tasks_by_group"),
        (Wanted(TENANT, 20, metadata={"post": "77"}, state="succeeded"), by_label),
    ]
    file.close()
    with closing(sqlite3.connect(tmp_path / "tasks.sqlite")) as db, db:
        db.executescript(A_HUNDRED_THOUSAND.format(prefix=new_id()[:24], tenant=TENANT, many=MANY))
        for each, used in wanted:
            query, values = each.query(db, Row._fields, 0)
            plan = " ".join(step for *_, step in db.execute(f"EXPLAIN QUERY PLAN {query}", values))
            assert plan.removeprefix("SEARCH ").startswith(used)
            assert "SCAN" not in plan, plan
            assert "TEMP B-TREE" not in plan, plan
    again = TaskFile(tmp_path / "tasks.sqlite", "c/easel", not_before_ms=0)
    for each, _ in wanted:
        assert min(page_seconds(again, each) for _ in range(5)) < 0.002, each
    again.close()


def page_seconds(file: TaskFile, wanted: Wanted) -> float:
    """This thread's own. Take the least of several: a collection of the whole heap takes longer than the page."""
    began = time.thread_time()
    assert len(file.page(wanted, 0)) == wanted.limit
    return time.thread_time() - began
