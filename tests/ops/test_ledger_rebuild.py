"""A ledger that was lost: refused, made again from the other topics, and not a unit is charged twice."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from consumer.admission.quota import Account
from consumer.faults import EXIT_CODE, VARIABLE
from consumer.process import EXIT_CONFIGURATION
from ops.cli.terminal import ExitCode
from schemas.ids import new_id
from schemas.settings import Settings
from tests.consumer.admission.test_hidden_ledger import left_open
from tests.consumer.admission.test_service import report
from tests.consumer.admission.world import failed, succeeded
from tests.consumer.generation.harness import environment
from tests.house import House
from tests.ops.cli_process import Ended, easel
from transport.kafka import client_options
from transport.partitioning import partition_of
from transport.records import Outgoing

TENANTS = [f"tenant-{number}" for number in range(8)]
CUTS = (
    "before_commit",
    "after_commit",
    "before_offsets:2",
    "before_commit:2",
    "after_commit:2",
    "before_commit:3",
    "after_commit:3",
    "before_commit:5",
    "before_send:3",
)
"""In, after and between the transactions of one partition, then of those after it."""


@pytest.fixture
async def house(settings: Settings, tmp_path: Path) -> AsyncIterator[House]:
    house = await House.build(settings, tmp_path)
    yield house
    house.close()


async def command(house: House, *arguments: str, **more: str) -> Ended:
    variables = {**environment(house.settings, 0), "EASEL_TENANTS": str(house.settings.tenants), **more}
    return await asyncio.to_thread(easel, *arguments, cwd=house.folder, variables=variables)


async def lose(house: House, topic: str) -> None:
    admin = AIOKafkaAdminClient(**client_options(house.settings.kafka))
    await admin.start()
    try:
        await admin.delete_topics([topic])
        while topic in await admin.list_topics():  # noqa: ASYNC110 - the broker does not tell
            await asyncio.sleep(0.1)
    finally:
        await admin.close()


def kinds(results: list[dict[str, Any]]) -> Counter[str]:
    return Counter(one["kind"] for one in results)


@dataclass
class Lost:
    """What had happened before the ledger was lost, a request of each kind for every tenant."""

    captured: list[Outgoing]
    """What was sent of those that succeeded."""
    failed: set[str]
    open: dict[str, str]
    unread: dict[str, str]
    accounts: dict[str, Account]


async def accounts(house: House) -> dict[str, Account]:
    return {who: account for n in range(4) for who, account in (await house.ledger(n)).state.accounts.items()}


async def live_and_lose(house: House, end: signal.Signals = signal.SIGTERM) -> Lost:
    stage, tenants = await house.admission().ready(), len(house.keys)
    done, failing, open_ = ({who: new_id() for who in house.keys} for _ in range(3))
    captured = [house.request(who, name=name) for who, name in done.items()]
    await house.publish(*captured)
    await house.publish(
        *(house.request(who, name=name) for names in (failing, open_) for who, name in names.items()),
        *(house.request(who, images=99) for who in house.keys),
    )
    await house.until(lambda results: len(results) == 4 * tenants)
    await house.publish(
        *(report(house, succeeded(name, who=who)) for who, name in done.items()),
        *(report(house, failed(name, who=who)) for who, name in failing.items()),
    )
    await house.until_ended(2 * tenants)
    stage.signal(end)
    await stage.ended()
    unread = {who: new_id() for who in house.keys}
    lost = Lost(captured, set(failing.values()), open_, unread, await accounts(house))
    await house.publish(*(house.request(who, name=name) for who, name in unread.items()))
    await lose(house, house.topics.ledger)
    return lost


async def require_made_again(house: House, lost: Lost) -> None:
    """Balances are what they were, with what was open refunded; and everything goes on from there."""
    tenants, after = len(house.keys), await accounts(house)
    for who, account in lost.accounts.items():
        for day, period in account.days.items():
            new = after[who].days[day]
            assert (new.held, new.settled, new.outstanding) == (period.held, period.settled, 0)
            assert new.refunded == period.refunded + period.outstanding
    await house.admission().ready()
    # Captured requests come again, what was open is reported by its worker, and what nobody had read is decided once.
    await house.publish(*lost.captured, *(report(house, succeeded(name, who=who)) for who, name in lost.open.items()))
    await house.until(lambda found: kinds(found)["generation.duplicate"] == tenants)
    results = await house.until(lambda found: kinds(found)["generation.accepted"] == 4 * tenants)
    assert kinds(results)["generation.rejected"] == tenants, "what was rejected has been decided a second time"
    ends = {one["request_id"] for one in results if one["kind"] == "generation.failed"}
    assert ends == lost.failed | {*lost.open.values()}
    assert not any(one["error"] for one in results if one["kind"] == "generation.duplicate"), "the body is not known"
    notes = {one["request_id"] for one in await house.events(house.topics.control)}
    assert set(lost.open.values()) <= notes, "workers were not told to drop what is no longer wanted"
    await house.publish(*(report(house, succeeded(name, who=who)) for who, name in lost.unread.items()))
    await house.until_ended(4 * tenants)
    await house.require_balance()


async def test_a_lost_ledger_is_made_again(house: House) -> None:
    lost = await live_and_lose(house)
    refused = await command(house, "topics")
    assert "it was lost" in refused.err
    stage = house.admission()
    assert await stage.ended() == EXIT_CONFIGURATION
    would = await command(house, "ledger", "rebuild", "--dry-run")
    assert would.code == 0, would.err
    assert "3 accounts, 6 ended requests; 3 that were open would fail" in would.out
    assert kinds(await house.results())["generation.failed"] == 3, "a dry run has changed something"
    rebuilt = await command(house, "ledger", "rebuild")
    assert rebuilt.code == 0, rebuilt.err
    assert "nothing is lost" in (await command(house, "ledger", "rebuild")).out
    await require_made_again(house, lost)


@pytest.mark.timeout(240)
async def test_cut_off_anywhere_it_is_done_again(settings: Settings, tmp_path: Path) -> None:
    """A partition has three transactions: its accounts, its requests, and its mark."""
    house = await House.build(settings, tmp_path, tenants=TENANTS)
    assert {partition_of(who.encode(), 4) for who in TENANTS} == {0, 1, 2, 3}
    try:
        lost = await live_and_lose(house)
        for step in CUTS:
            died = await command(house, "ledger", "rebuild", **{VARIABLE: f"rebuild.{step}"})
            assert died.code == EXIT_CODE, (step, died.err)
        rebuilt = await command(house, "ledger", "rebuild")
        assert rebuilt.code == 0, rebuilt.err
        await require_made_again(house, lost)
    finally:
        house.close()


async def test_what_the_group_was_not_told_any_more_is_not_decided_again(house: House) -> None:
    """Killed, admission has told the group nothing of its last second."""
    lost = await live_and_lose(house, signal.SIGKILL)
    assert (await command(house, "ledger", "rebuild")).code == 0
    await require_made_again(house, lost)


async def test_done_twice_at_once_one_gives_way(house: House) -> None:
    """Whoever comes later shuts the other out before it reads what was done, and is waited for."""
    lost = await live_and_lose(house)
    both = await asyncio.gather(*(command(house, "ledger", "rebuild") for _ in range(2)))
    assert {one.code for one in both} == {0}, [one.err for one in both]
    await require_made_again(house, lost)


@pytest.mark.timeout(120)
async def test_while_a_part_of_the_history_is_hidden_it_is_not_done(house: House) -> None:
    """What lies behind a transaction that nobody ends would be forgotten, and charged or run a second time."""
    stage = await house.admission().ready()
    await house.publish(house.request("acme"))
    await house.until(lambda found: kinds(found)["generation.accepted"] == 1)
    stage.signal(signal.SIGTERM)
    await stage.ended()
    await lose(house, house.topics.ledger)
    assert "1 that were open would fail" in (await command(house, "ledger", "rebuild", "--dry-run")).out
    home = partition_of(b"acme", house.settings.kafka.partitions)
    for topic, arguments in (
        (house.topics.usage, ["--dry-run"]),
        (house.topics.results, []),
        (house.topics.ledger, []),
    ):
        hanging = await left_open(house, topic, home)
        refused = await command(house, "ledger", "rebuild", *arguments)
        assert refused.code == ExitCode.UNAVAILABLE, (topic, refused.out, refused.err)
        assert f"a transaction hides the end of {topic}[{home}]" in refused.err
        assert "kafka-transactions.sh" in refused.err
        await hanging.abort_transaction()
        await hanging.stop()
    rebuilt = await command(house, "ledger", "rebuild")
    assert rebuilt.code == 0, rebuilt.err
    assert "1 that were open failed" in rebuilt.out
