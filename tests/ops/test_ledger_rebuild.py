"""A ledger that was lost: refused, made again from the other topics, and not a unit is charged twice."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from consumer.process import EXIT_CONFIGURATION
from schemas.ids import new_id
from schemas.settings import Settings
from tests.consumer.admission.test_service import report
from tests.consumer.admission.world import failed, succeeded
from tests.consumer.generation.harness import environment
from tests.house import House
from tests.ops.cli_process import Ended, easel
from transport.kafka import client_options


@pytest.fixture
async def house(settings: Settings, tmp_path: Path) -> AsyncIterator[House]:
    house = await House.build(settings, tmp_path)
    yield house
    house.close()


async def command(house: House, *arguments: str) -> Ended:
    variables = {**environment(house.settings, 0), "EASEL_TENANTS": str(house.settings.tenants)}
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


async def test_a_lost_ledger_is_made_again(house: House) -> None:
    stage = await house.admission().ready()
    done, failing, open_ = ({who: new_id() for who in house.keys} for _ in range(3))
    captured = {who: house.request(who, name=name) for who, name in done.items()}
    await house.publish(*captured.values())
    await house.publish(
        *(house.request(who, name=name) for names in (failing, open_) for who, name in names.items()),
        *(house.request(who, images=99) for who in house.keys),
    )
    await house.until(lambda results: len(results) == 12)
    await house.publish(
        *(report(house, succeeded(name, who=who)) for who, name in done.items()),
        *(report(house, failed(name, who=who)) for who, name in failing.items()),
    )
    await house.until_ended(6)
    stage.signal(signal.SIGTERM)
    await stage.ended()
    before = {who: account for n in range(4) for who, account in (await house.ledger(n)).state.accounts.items()}
    late = {who: new_id() for who in house.keys}
    await house.publish(*(house.request(who, name=name) for who, name in late.items()))

    await lose(house, house.topics.ledger)
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

    after = {who: account for n in range(4) for who, account in (await house.ledger(n)).state.accounts.items()}
    for who, account in before.items():
        for day, period in account.days.items():
            new = after[who].days[day]
            assert (new.held, new.settled, new.outstanding) == (period.held, period.settled, 0)
            assert new.refunded == period.refunded + period.outstanding
    await house.admission().ready()
    # Captured requests come again, what was open is reported by its worker, and what nobody had read is decided once.
    await house.publish(*captured.values(), *(report(house, succeeded(name, who=who)) for who, name in open_.items()))
    await house.until(lambda found: kinds(found)["generation.duplicate"] == 3)
    results = await house.until(lambda found: kinds(found)["generation.accepted"] == 12)
    assert kinds(results)["generation.rejected"] == 3, "what was rejected has been decided a second time"
    assert {one["request_id"] for one in results if one["kind"] == "generation.failed"} == {
        *failing.values(),
        *open_.values(),
    }
    assert not any(one["error"] for one in results if one["kind"] == "generation.duplicate"), "the body is not known"
    notes = {one["request_id"] for one in await house.events(house.topics.control)}
    assert set(open_.values()) <= notes, "workers were not told to drop what is no longer wanted"
    await house.publish(*(report(house, succeeded(name, who=who)) for who, name in late.items()))
    await house.until_ended(12)
    await house.require_balance()
