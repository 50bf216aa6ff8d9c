"""The tracker on a real broker: kept or made again, the file says the same."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from producer_api.metrics import Metrics
from producer_api.pulse import Pulse
from producer_api.task_file import TaskFile, Timed
from producer_api.tracker import Tracker
from schemas.connection import KafkaSettings
from schemas.ids import new_id
from tests.producer_api.support import (
    TENANT,
    Announcer,
    accepted,
    failed,
    make_topics,
    rejected,
    started,
    step,
    succeeded,
)
from tests.stack import OwnBroker
from transport.records import TopicPartition


@asynccontextmanager
async def tracking(kafka: KafkaSettings, path: Path, metrics: Metrics | None = None) -> AsyncIterator[Tracker]:
    tracker = Tracker(kafka, path, metrics or Metrics(), Pulse())
    tracker.start()
    try:
        async with asyncio.timeout(30):
            while tracker.problem is not None:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.02)
        yield tracker
    finally:
        await tracker.stop()


async def until_state(tracker: Tracker, id_: str, state: str) -> None:
    async with asyncio.timeout(20):
        while (row := await tracker.row(TENANT, id_)) is None or row.state != state:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def content(path: Path) -> list[tuple[Any, ...]]:
    db = sqlite3.connect(path)
    try:
        return db.execute("SELECT * FROM tasks ORDER BY tenant, id").fetchall()
    finally:
        db.close()


async def test_a_file_made_again_equals_the_one_that_was_kept(
    kafka: KafkaSettings, announcer: Announcer, tmp_path: Path
) -> None:
    kept, again = tmp_path / "kept.sqlite", tmp_path / "again.sqlite"
    ids = [new_id() for _ in range(6)]
    last = new_id()
    async with tracking(kafka, kept) as tracker:
        await announcer.say(*(accepted(id_) for id_ in ids[:4]), rejected(ids[4]))
        await until_state(tracker, ids[4], "rejected")
        await announcer.show(started(ids[0]), step(ids[0], 3), started(ids[1]))
        await until_state(tracker, ids[1], "running")
    # What comes while nobody follows is read later, once.
    await announcer.say(succeeded(ids[0]), failed(ids[1]))
    async with tracking(kafka, kept) as tracker:
        await announcer.say(succeeded(ids[2]), accepted(ids[5]), number=1)
        await announcer.show(started(ids[3]), step(ids[3], 3))
        await until_state(tracker, ids[3], "running")
        await announcer.say(accepted(last))
        await until_state(tracker, last, "accepted")
    async with tracking(kafka, again) as tracker:
        await until_state(tracker, last, "accepted")
    assert len(content(kept)) == 7
    assert content(again) == content(kept)


async def test_a_restart_reads_only_what_is_new(kafka: KafkaSettings, announcer: Announcer, tmp_path: Path) -> None:
    ids = [new_id() for _ in range(50)]
    await announcer.say(*(accepted(id_) for id_ in ids))
    first, second = Metrics(), Metrics()
    async with tracking(kafka, tmp_path / "tasks.sqlite", first) as tracker:
        await until_state(tracker, ids[-1], "accepted")
    await announcer.say(succeeded(ids[0]))
    async with tracking(kafka, tmp_path / "tasks.sqlite", second) as tracker:
        await until_state(tracker, ids[0], "succeeded")
        await until_state(tracker, ids[-1], "accepted")
    assert first.registry.get_sample_value("easel_api_events_total") == 50
    assert second.registry.get_sample_value("easel_api_events_total") == 1


async def test_who_is_told_of_a_decision_finds_it_in_the_file(
    kafka: KafkaSettings, announcer: Announcer, tmp_path: Path
) -> None:
    async with tracking(kafka, tmp_path / "tasks.sqlite") as tracker:
        id_ = new_id()
        with tracker.expect(TENANT, id_) as mine, tracker.expect("globex", id_) as theirs:
            tracker.submitted(TENANT, id_)
            assert tracker.is_undecided(TENANT, id_)
            await announcer.say(accepted(id_))
            assert await asyncio.wait_for(mine, 10) == accepted(id_)
            row = await tracker.row(TENANT, id_)
            assert row is not None
            assert row.state == "accepted"
            assert not tracker.is_undecided(TENANT, id_)
            assert not theirs.done()


@pytest.fixture
def moving(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """The disk stands still until this is set."""
    apply, moves = TaskFile.apply, threading.Event()

    def slow(file: TaskFile, events: Iterable[Timed], positions: Mapping[TopicPartition, int]) -> None:
        moves.wait(20)
        apply(file, events, positions)

    monkeypatch.setattr(TaskFile, "apply", slow)
    return moves


async def test_a_slow_file_keeps_nobody_waiting_for_a_decision(
    kafka: KafkaSettings, announcer: Announcer, tmp_path: Path, moving: threading.Event
) -> None:
    """The disk stands still with the first of two batches; who waits for the second is told all the same."""
    first, second = new_id(), new_id()
    async with tracking(kafka, tmp_path / "tasks.sqlite") as tracker:
        for id_ in (first, second):
            with tracker.expect(TENANT, id_) as expected:
                await announcer.say(accepted(id_))
                assert (await asyncio.wait_for(expected, 10)).request_id == id_
        moving.set()
        await until_state(tracker, second, "accepted")


async def test_what_was_told_is_written_before_the_end(
    kafka: KafkaSettings, announcer: Announcer, tmp_path: Path, moving: threading.Event
) -> None:
    """Batches that wait for the file when the reader is ended are not dropped from between others."""
    ids = [new_id() for _ in range(3)]
    async with tracking(kafka, tmp_path / "tasks.sqlite") as tracker:
        for id_ in ids:
            with tracker.expect(TENANT, id_) as expected:
                await announcer.say(accepted(id_))
                await asyncio.wait_for(expected, 10)
        asyncio.get_running_loop().call_later(0.3, moving.set)
    assert [row[1] for row in content(tmp_path / "tasks.sqlite")] == ids


async def test_what_the_file_would_not_take_is_read_again(
    kafka: KafkaSettings, announcer: Announcer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches that wait behind one that fails are not written past it."""
    apply, failing = TaskFile.apply, [sqlite3.OperationalError("disk I/O error")]
    moving = threading.Event()

    def broken(file: TaskFile, events: Iterable[Timed], positions: Mapping[TopicPartition, int]) -> None:
        taken = [*events]
        if taken and failing:
            moving.wait(20)
            apply_broken = failing.pop()
            # What a disk that is full for a moment does, in the midst of a batch.
            apply(file, [*taken, Timed(accepted(new_id()), cast(int, apply_broken))], positions)
        apply(file, taken, positions)

    monkeypatch.setattr(TaskFile, "apply", broken)
    ids = [new_id() for _ in range(4)]
    async with tracking(kafka, tmp_path / "tasks.sqlite") as tracker:
        for id_ in ids:
            with tracker.expect(TENANT, id_) as expected:
                await announcer.say(accepted(id_))
                await asyncio.wait_for(expected, 10)
        moving.set()
        for id_ in ids:
            await until_state(tracker, id_, "accepted")
    assert not failing


async def test_it_comes_back_with_the_broker_and_misses_nothing(own_broker: OwnBroker, tmp_path: Path) -> None:
    kafka = own_broker.settings
    await make_topics(kafka)
    before, after = new_id(), new_id()
    async with tracking(kafka, tmp_path / "tasks.sqlite") as tracker:
        async with Announcer(kafka) as announcer:
            await announcer.say(accepted(before))
            await until_state(tracker, before, "accepted")
        await own_broker.restart(hard=True)
        async with Announcer(kafka) as announcer:
            await announcer.say(succeeded(before), accepted(after))
        await until_state(tracker, before, "succeeded")
        await until_state(tracker, after, "accepted")


async def test_a_broker_that_is_away_is_waited_for(own_broker: OwnBroker, tmp_path: Path) -> None:
    kafka = own_broker.settings
    await make_topics(kafka)
    own_broker.stop()
    tracker = Tracker(kafka, tmp_path / "tasks.sqlite", Metrics(), Pulse())
    tracker.start()
    try:
        async with asyncio.timeout(20):
            while tracker.problem is None:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.05)
        await asyncio.to_thread(own_broker.start)
        async with asyncio.timeout(40):
            while tracker.problem is not None:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.05)
    finally:
        await tracker.stop()


async def test_who_asks_while_the_file_is_closed_to_be_opened_again_learns_nothing(
    kafka: KafkaSettings, announcer: Announcer, tmp_path: Path
) -> None:
    async with tracking(kafka, tmp_path / "api.sqlite") as tracker:
        id_ = new_id()
        await announcer.say(accepted(id_))
        await until_state(tracker, id_, "accepted")
        busy, loop = threading.Event(), asyncio.get_running_loop()
        # In its thread the file is closed before the question comes to it.
        before = [loop.run_in_executor(tracker._thread, work) for work in (busy.wait, tracker._close)]
        loop.call_later(0.1, busy.set)
        assert await tracker.row(TENANT, id_) is None
        await asyncio.gather(*before)
