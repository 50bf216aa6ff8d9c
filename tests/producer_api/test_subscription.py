"""A service's subscription: every result to its handler, through crashes, rebalances and handlers that fail."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from producer_api import HandlerFailed, Received, Subscription
from schemas.connection import KafkaSettings
from schemas.events import Accepted, Succeeded
from schemas.ids import new_id
from tests.producer_api.support import OTHER, TENANT, Announcer, accepted, succeeded

SUBSCRIBER = Path(__file__).with_name("exactly_once.py")


class Ledger:
    """What a handler was given."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self._more = asyncio.Event()

    async def handle(self, received: Received) -> None:
        self.ids.append(received.event.request_id)
        self._more.set()

    async def until(self, count: int) -> list[str]:
        async with asyncio.timeout(30):
            while len(self.ids) < count:
                self._more.clear()
                await self._more.wait()
        return self.ids


def subscribe(kafka: KafkaSettings, ledger: Ledger, *, tenant: str | None = TENANT) -> Subscription:
    return Subscription(kafka, ledger.handle, group=f"{kafka.prefix}.mine", tenant=tenant, session_timeout_s=3)


async def say(announcer: Announcer, count: int, tenant: str = TENANT) -> list[str]:
    ids = [new_id() for _ in range(count)]
    await announcer.say(*(event for id_ in ids for event in (accepted(id_, tenant), succeeded(id_, tenant=tenant))))
    return ids


async def test_each_ending_of_the_tenant_comes_once_and_in_order(kafka: KafkaSettings, announcer: Announcer) -> None:
    first = await say(announcer, 20)
    await say(announcer, 5, OTHER)
    ledger = Ledger()
    async with subscribe(kafka, ledger):
        await ledger.until(20)
        later = await say(announcer, 20)
        # Published again, as a mirror of the topic might.
        await announcer.say(succeeded(later[3]))
        last = await say(announcer, 1)
        assert await ledger.until(41) == [*first, *later, *last]
    # A graceful end leaves nothing to be given again.
    after = Ledger()
    async with subscribe(kafka, after):
        more = await say(announcer, 3)
        assert await after.until(3) == more


async def test_all_tenants_and_other_types_where_they_are_asked_for(kafka: KafkaSettings, announcer: Announcer) -> None:
    mine, others = await say(announcer, 2), await say(announcer, 2, OTHER)
    found: Counter[type] = Counter()
    ids: set[str] = set()
    enough = asyncio.Event()

    async def handle(received: Received) -> None:
        found[type(received.event)] += 1
        ids.add(received.event.request_id)
        if found.total() == 8:
            enough.set()

    async with Subscription(kafka, handle, group=f"{kafka.prefix}.all", types=(Accepted, Succeeded)):
        await asyncio.wait_for(enough.wait(), 30)
    assert (found, ids) == ({Accepted: 4, Succeeded: 4}, {*mine, *others})


async def test_a_handler_that_fails_is_called_again(kafka: KafkaSettings, announcer: Announcer) -> None:
    [first, second] = await say(announcer, 2)
    calls: list[str] = []
    done = asyncio.Event()

    async def handle(received: Received) -> None:
        calls.append(received.event.request_id)
        if len(calls) < 3:
            raise OSError("the database is away")
        if received.event.request_id == second:
            done.set()

    async with Subscription(kafka, handle, group=f"{kafka.prefix}.mine", tenant=TENANT):
        await asyncio.wait_for(done.wait(), 30)
    assert calls == [first, first, first, second]


async def test_one_that_cannot_be_handled_ends_the_subscription_and_is_not_passed_over(
    kafka: KafkaSettings, announcer: Announcer
) -> None:
    ids = await say(announcer, 3)
    handled: list[str] = []

    async def handle(received: Received) -> None:
        if received.event.request_id == ids[1]:
            raise ValueError("not for me")
        handled.append(received.event.request_id)

    with pytest.raises(HandlerFailed) as failed:
        await asyncio.wait_for(Subscription(kafka, handle, group=f"{kafka.prefix}.mine").run(), 60)
    assert (failed.value.request_id, handled) == (ids[1], ids[:1])
    assert isinstance(failed.value.__cause__, ValueError)
    ledger = Ledger()
    async with subscribe(kafka, ledger):
        assert await ledger.until(2) == ids[1:]


async def test_members_share_the_work_and_take_over_what_another_leaves(
    kafka: KafkaSettings, announcer: Announcer
) -> None:
    one, two = Ledger(), Ledger()
    everything: set[str] = set()
    async with subscribe(kafka, one, tenant=None):
        async with subscribe(kafka, two, tenant=None):
            for number in range(24):
                everything |= {*(await say(announcer, 1, f"tenant-{number}"))}
            await _until(lambda: everything <= {*one.ids, *two.ids})
        everything |= {*(await say(announcer, 5))}
        await _until(lambda: everything <= {*one.ids, *two.ids})
    counted = Counter([*one.ids, *two.ids])
    # At least once: what was handled within the last second before a rebalance may come again, and little else.
    assert set(counted) == everything


async def test_a_slow_handler_neither_leaves_the_group_nor_holds_up_other_partitions(
    kafka: KafkaSettings, announcer: Announcer
) -> None:
    slow_down, ledger = asyncio.Event(), Ledger()
    begun: list[str] = []

    async def handle(received: Received) -> None:
        if received.event.tenant == TENANT:
            begun.append(received.event.request_id)
            await slow_down.wait()
        await ledger.handle(received)

    others = [f"tenant-{number}" for number in range(8)]
    [held] = await say(announcer, 1)
    async with Subscription(kafka, handle, group=f"{kafka.prefix}.mine", session_timeout_s=2):
        # Some of them share the partition of the slow one and wait behind it.
        ids = [(await say(announcer, 1, other))[0] for other in others]
        await _until(lambda: bool(begun))
        ids += await say(announcer, 2)
        # Longer than a session.
        await asyncio.sleep(4)
        assert begun == [held]
        assert ledger.ids
        slow_down.set()
        await _until(lambda: {held, *ids} == set(ledger.ids))
        assert len(ledger.ids) == len(set(ledger.ids))


async def test_with_a_store_of_its_own_it_is_exactly_once_however_often_it_is_killed(
    kafka: KafkaSettings, announcer: Announcer, tmp_path: Path
) -> None:
    database = tmp_path / "rows.sqlite"
    everything: list[str] = []

    def start() -> subprocess.Popen[bytes]:
        arguments = [kafka.bootstrap_servers, kafka.prefix, str(kafka.partitions), str(database)]
        return subprocess.Popen([sys.executable, str(SUBSCRIBER), *arguments])

    for number in range(4):
        process = start()
        everything += [id_ for tenant in range(8) for id_ in await say(announcer, 5, f"tenant-{tenant}")]
        await _until(partial(_has, database, len(everything) - 25))
        process.send_signal(signal.SIGKILL if number < 3 else signal.SIGTERM)
        process.wait(20)
    process = start()
    try:
        await _until(partial(_has, database, len(everything)))
    finally:
        process.terminate()
        process.wait(20)
    assert sorted(_rows(database)) == sorted(everything)


def _has(database: Path, count: int) -> bool:
    return len(_rows(database)) >= count


def _rows(database: Path) -> list[str]:
    if not database.exists():
        return []
    with sqlite3.connect(database, timeout=10) as db:
        try:
            return [row[0] for row in db.execute("SELECT request_id FROM pictures")]
        except sqlite3.OperationalError:
            return []


async def _until(reached: Callable[[], bool], *, within_s: float = 60.0) -> None:
    async with asyncio.timeout(within_s):
        while not reached():  # noqa: ASYNC110 - some of it is another process's
            await asyncio.sleep(0.05)
