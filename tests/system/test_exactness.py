"""The promise, on real parts: whatever is killed, each accepted request ends once and the books balance."""

from __future__ import annotations

import asyncio
import hashlib
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from schemas.ids import new_id
from schemas.settings import Settings
from tests.house import House
from transport.objects import ObjectStore

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

REQUESTS = 200
# Slow enough that kills find work under way, quick enough for a test.
SLOW_ENGINE = {"EASEL_NULL_STEP_S": "0.02"}


@pytest.fixture
async def house(settings: Settings, tmp_path: Path) -> AsyncIterator[House]:
    house = await House.build(settings, tmp_path)
    yield house
    house.close()


async def require_outputs(house: House) -> None:
    """Each picture of each success is there, with the hash that its event names."""
    async with ObjectStore(house.settings.store) as objects:
        for result in await house.results():
            for output in result.get("outputs", ()):
                picture = await objects.get(output["key"])
                assert hashlib.sha256(picture).hexdigest() == output["sha256"]


async def test_one_of_each_stage_is_killed(house: House) -> None:
    admissions = [house.admission(), house.admission()]
    workers = [house.worker(**SLOW_ENGINE), house.worker(**SLOW_ENGINE)]
    await asyncio.gather(*(stage.ready() for stage in [*admissions, *workers]))
    names = [new_id() for _ in range(REQUESTS)]
    who = list(house.keys)
    requests = [house.request(who[n % 3], name=name, images=1 + n % 2) for n, name in enumerate(names)]
    await house.publish(*requests[: REQUESTS // 2])
    await house.until_ended(10)
    admissions[0].signal(signal.SIGKILL)
    await house.publish(*requests[REQUESTS // 2 :], *requests[:5])
    await house.until_ended(40)
    workers[0].signal(signal.SIGKILL)
    results = await house.until_ended(REQUESTS, within_s=150)
    results = await house.until(lambda found: sum(r["kind"] == "generation.duplicate" for r in found) >= 5)
    kinds = Counter(result["kind"] for result in results)
    assert kinds == {"generation.accepted": REQUESTS, "generation.succeeded": REQUESTS, "generation.duplicate": 5}
    await house.require_balance()
    await require_outputs(house)


async def test_nothing_is_lost_while_everything_is_down(house: House) -> None:
    stages = [await house.admission().ready(), await house.worker(**SLOW_ENGINE).ready()]
    names = [new_id() for _ in range(60)]
    await house.publish(*(house.request("acme", name=name) for name in names[:30]))
    await house.until_ended(3)
    for stage in stages:
        stage.signal(signal.SIGKILL)
    await house.publish(*(house.request("bolt", name=name) for name in names[30:]))
    await asyncio.sleep(1)
    house.worker()
    house.admission()
    results = await house.until_ended(60, within_s=120)
    assert {result["request_id"] for result in results} == set(names)
    await house.require_balance()
    await require_outputs(house)
