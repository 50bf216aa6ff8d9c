"""The file of tasks is a function of what was read: not of the order between topics, nor of crashes and restarts."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producer_api.task_file import Row, TaskFile, TaskFileError, Timed
from producer_api.wire import RequestEvent
from schemas.ids import new_id
from tests.producer_api.support import (
    OTHER,
    TENANT,
    accepted,
    canceled,
    failed,
    rejected,
    started,
    step,
    succeeded,
)
from transport.records import TopicPartition

ID = new_id()
RESULTS = TopicPartition("easel.results", 0)
PROGRESS = TopicPartition("easel.progress", 1)

DECISIONS: list[list[RequestEvent]] = [
    [accepted(ID)],
    [rejected(ID)],
    [rejected(ID), accepted(ID)],
    [accepted(ID), succeeded(ID)],
    [rejected(ID), rejected(ID), accepted(ID), failed(ID)],
    [accepted(ID), canceled(ID)],
]
STEPS: list[RequestEvent] = [started(ID), step(ID, 4), step(ID, 8), started(ID, 2), step(ID, 12, 2)]


def open_file(path: Path, *, identity: str = "c/easel", not_before_ms: int = 0) -> TaskFile:
    return TaskFile(path / "tasks.sqlite", identity, not_before_ms=not_before_ms)


def row_after(path: Path, *events: RequestEvent) -> Row | None:
    file = open_file(path)
    try:
        for number, event in enumerate(events, start=1):
            file.apply([Timed(event, number)], {})
        return file.row(TENANT, ID)
    finally:
        file.close()


def without_times(row: Row | None) -> tuple[Any, ...]:
    assert row is not None
    return tuple(row._replace(created_ms=None, updated_ms=0))


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([d for d in DECISIONS if d != [rejected(ID)]]), st.integers(0, len(STEPS)), st.randoms())
def test_the_order_between_the_two_topics_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, results: list[RequestEvent], shown: int, random: Any
) -> None:
    progress = STEPS[:shown]
    places = sorted(random.sample(range(len(results) + shown), shown))
    mixed = list(results)
    for place, event in zip(places, progress, strict=True):
        mixed.insert(place, event)
    first = row_after(tmp_path_factory.mktemp("mixed"), *mixed)
    second = row_after(tmp_path_factory.mktemp("apart"), *results, *progress)
    assert without_times(first) == without_times(second)


def test_what_was_read_before_changes_nothing(tmp_path: Path) -> None:
    events: list[RequestEvent] = [accepted(ID), started(ID), step(ID, 4), succeeded(ID)]
    once = row_after(tmp_path / "once", *events)
    again = row_after(tmp_path / "again", *events, *events)
    assert without_times(again) == without_times(once)


def test_the_first_ending_counts(tmp_path: Path) -> None:
    row = row_after(tmp_path, accepted(ID), succeeded(ID), failed(ID), step(ID, 9))
    assert row is not None
    assert row.state == "succeeded"
    assert row.ending == succeeded(ID).model_dump_json()
    assert (row.attempt, row.step, row.steps) == (None, None, None)


def test_tenants_with_the_same_id_are_apart(tmp_path: Path) -> None:
    file = open_file(tmp_path)
    file.apply([Timed(accepted(ID), 1), Timed(succeeded(ID, tenant=OTHER), 2)], {})
    mine, theirs = file.row(TENANT, ID), file.row(OTHER, ID)
    file.close()
    assert mine is not None
    assert theirs is not None
    assert (mine.state, theirs.state) == ("accepted", "succeeded")


CRASH_IN_A_BATCH = """
import os, sys
from pathlib import Path
from producer_api import task_file
from schemas.ids import new_id
from tests.producer_api.support import accepted
from transport.records import TopicPartition

def events():
    yield task_file.Timed(accepted(sys.argv[2]), 2)
    os._exit(9)

file = task_file.TaskFile(Path(sys.argv[1]) / "tasks.sqlite", "c/easel", not_before_ms=0)
file.apply(events(), {TopicPartition("easel.results", 0): 99})
"""


def test_a_crash_between_two_rows_leaves_neither_row_nor_position(tmp_path: Path) -> None:
    file = open_file(tmp_path)
    file.apply([Timed(accepted(ID), 1)], {RESULTS: 7, PROGRESS: 3})
    file.close()
    lost = new_id()
    crashed = subprocess.run([sys.executable, "-c", CRASH_IN_A_BATCH, str(tmp_path), lost])
    assert crashed.returncode == 9
    file = open_file(tmp_path)
    assert file.positions() == {RESULTS: 7, PROGRESS: 3}
    assert file.row(TENANT, lost) is None
    assert file.row(TENANT, ID) is not None
    file.apply([Timed(accepted(lost), 2)], {RESULTS: 8})
    assert file.positions() == {RESULTS: 8, PROGRESS: 3}
    assert file.row(TENANT, lost) is not None
    file.close()


CRASH_LATER = """
import os, sys, time
from pathlib import Path
from producer_api.task_file import TaskFile, Timed
from tests.producer_api.test_task_file import PROGRESS, RESULTS, accepted

file = TaskFile(Path(sys.argv[1]) / "tasks.sqlite", "c/easel", not_before_ms=0)
file.apply([Timed(accepted(sys.argv[2]), 1)], {RESULTS: 1})
time.sleep(0.3)
file.apply([], {PROGRESS: 2})
os._exit(9)
"""


def test_what_came_a_while_before_a_crash_is_written(tmp_path: Path) -> None:
    assert subprocess.run([sys.executable, "-c", CRASH_LATER, str(tmp_path), ID]).returncode == 9
    file = open_file(tmp_path)
    assert file.positions() == {RESULTS: 1, PROGRESS: 2}
    assert file.row(TENANT, ID) is not None
    file.close()


def test_an_error_in_a_batch_undoes_all_of_it_and_no_later_one_passes_it(tmp_path: Path) -> None:
    file, before = open_file(tmp_path), new_id()
    file.apply([Timed(accepted(before), 1)], {RESULTS: 4})
    with pytest.raises(sqlite3.Error):
        file.apply([Timed(accepted(ID), 1), Timed(accepted(new_id()), None)], {RESULTS: 5})  # type: ignore[arg-type]
    assert file.positions() == {RESULTS: 4}
    assert (file.row(TENANT, before) is None, file.row(TENANT, ID) is None) == (False, True)
    with pytest.raises(TaskFileError, match="could not be written"):
        file.apply([Timed(accepted(new_id()), 1)], {RESULTS: 6})
    file.close()
    file = open_file(tmp_path)
    assert file.positions() == {RESULTS: 4}
    file.apply([Timed(accepted(ID), 1)], {RESULTS: 5})
    assert file.positions() == {RESULTS: 5}
    assert file.row(TENANT, ID) is not None
    file.close()


@pytest.mark.parametrize("damage", [b"", b"not a database at all", b"SQLite format 3\x00" + b"\xff" * 8000])
def test_a_damaged_file_is_made_again(tmp_path: Path, damage: bytes) -> None:
    row_after(tmp_path, accepted(ID))
    (tmp_path / "tasks.sqlite").write_bytes(damage)
    assert row_after(tmp_path) is None
    assert row_after(tmp_path, accepted(ID)) is not None


def test_a_file_of_another_cluster_or_of_long_ago_is_made_again(tmp_path: Path) -> None:
    def known(identity: str, not_before_ms: int) -> bool:
        file = open_file(tmp_path, identity=identity, not_before_ms=not_before_ms)
        found = file.row(TENANT, ID) is not None
        file.apply([Timed(accepted(ID), 1000)], {RESULTS: 5})
        file.close()
        return found

    assert not known("c/easel", 0)
    assert known("c/easel", 1000)
    assert not known("c/easel", 1001)
    assert known("c/easel", 0)
    assert not known("d/easel", 0)


def test_two_processes_do_not_share_a_file(tmp_path: Path) -> None:
    file = open_file(tmp_path)
    file.apply([Timed(accepted(ID), 1)], {RESULTS: 7})
    with pytest.raises(TaskFileError, match="a file of its own"):
        open_file(tmp_path)
    file.close()
    file = open_file(tmp_path)
    assert file.positions() == {RESULTS: 7}
    file.close()


def test_what_is_old_is_forgotten(tmp_path: Path) -> None:
    file = open_file(tmp_path)
    recent = new_id()
    now_ms = int(time.time() * 1000)
    file.apply([Timed(accepted(ID), now_ms - 10), Timed(accepted(recent), now_ms)], {})
    assert file.purge(now_ms) == 1
    assert file.row(TENANT, ID) is None
    assert file.row(TENANT, recent) is not None
    file.close()
