"""`easel usage` says what the ledgers say, to the unit, however it is asked."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ops.cli.terminal import ExitCode
from schemas.settings import Settings
from tests.consumer.generation.harness import environment
from tests.house import House
from tests.ops.cli_process import Ended, easel
from transport.partitioning import partition_of

pytestmark = [pytest.mark.system]

AMOUNTS = ("held", "settled", "refunded")


@pytest.fixture
async def house(settings: Settings, tmp_path: Path) -> AsyncIterator[House]:
    house = await House.build(settings, tmp_path, limits={"units_per_day": 1_000, "units_per_month": 30_000})
    yield house
    house.close()


async def usage(house: House, *arguments: str) -> Ended:
    variables = {**environment(house.settings, 1), "EASEL_TENANTS": str(house.settings.tenants)}
    return await asyncio.to_thread(easel, "usage", *arguments, cwd=house.folder, variables=variables)


async def rows(house: House, *arguments: str) -> list[dict[str, Any]]:
    ended = await usage(house, *arguments, "--json")
    assert ended.code == ExitCode.OK, ended.err
    return [json.loads(line) for line in ended.out.splitlines()]


async def ledgers(house: House) -> dict[tuple[str, str], tuple[int, ...]]:
    """Each account of each ledger: held, settled, refunded."""
    found: dict[tuple[str, str], tuple[int, ...]] = {}
    for who in house.keys:
        restored = await house.ledger(partition_of(who.encode(), house.settings.kafka.partitions))
        account = restored.state.account(who)
        for period, posted in {**account.days, **account.months}.items():
            found[who, period] = tuple(getattr(posted, name) for name in AMOUNTS)
    return found


def told(rows: list[dict[str, Any]]) -> dict[tuple[str, str], tuple[int, ...]]:
    return {(row["tenant"], row["period"]): tuple(int(row[f"{name}_milliunits"]) for name in AMOUNTS) for row in rows}


async def test_it_says_what_the_ledgers_say(house: House) -> None:
    await house.admission().ready()
    assert (await usage(house)).err.strip() == "no usage yet"
    sent = {"acme": 7, "bolt": 3, "cord": 1}
    await house.publish(*(house.request(who, images=2) for who, count in sent.items() for _ in range(count)))
    await house.until(lambda results: sum(one["kind"] == "generation.accepted" for one in results) == 11)
    # What is only held is told as outstanding, beside what has ended.
    held = await rows(house)
    assert told(held) == await ledgers(house)
    assert all(row["outstanding_milliunits"] == row["held_milliunits"] > 0 for row in held)
    await house.worker().ready()
    await house.until_ended(11)

    everything = await rows(house)
    assert told(everything) == await ledgers(house)
    assert {row["outstanding_milliunits"] for row in everything} == {0}
    assert {row["tenant"]: row["requests"] for row in everything} == sent
    assert {row["limit_milliunits"] for row in everything} == {1_000_000, 30_000_000}
    assert all(row["left_milliunits"] == row["limit_milliunits"] - row["settled_milliunits"] for row in everything)

    by_month, by_day = await rows(house, "--by", "month"), await rows(house, "--by", "day")
    assert told(by_month) | told(by_day) == told(everything)
    assert len(by_month) == len(by_day) == 3
    listed = list(csv.DictReader(io.StringIO((await usage(house, "--csv", "--by", "day")).out)))
    assert told(listed) == told(by_day)
    assert list(listed[0]) == list(by_day[0])

    today, tomorrow = (datetime.now(tz=UTC).date() + timedelta(days=days) for days in (0, 1))
    assert await rows(house, "--since", today.isoformat()) == by_day
    assert await rows(house, "--since", "7d") == by_day
    assert await rows(house, "--since", tomorrow.isoformat()) == []
    summed = await rows(house, "--since", "7d", "--by", "tenant", "--tenant", "acme")
    assert [tuple(row[f"{name}_milliunits"] for name in AMOUNTS) for row in summed] == [
        told(by_day)["acme", by_day[0]["period"]]
    ]
    shown = await usage(house, "--since", "7d")
    assert "requests" in shown.out
    assert (await usage(house, "--since", "yesterday")).code == ExitCode.USAGE
