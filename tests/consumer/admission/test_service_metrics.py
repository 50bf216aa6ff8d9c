"""What two instances show: each tenant and each partition stands with the one that has it now, and with no other."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from schemas.settings import Settings
from tests.consumer.admission.test_service import report
from tests.consumer.admission.world import succeeded
from tests.house import House
from tests.stage import Stage


@pytest.fixture
async def house(settings: Settings, tmp_path: Path) -> AsyncIterator[House]:
    house = await House.build(settings, tmp_path)
    yield house
    house.close()


def labels(stage: Stage, metric: str, label: str) -> list[str]:
    """The values of a label under which a stage shows a metric."""
    _, text = stage.get("/metrics")
    return re.findall(rf'^{metric}{{.*?{label}="([^"]*)"', text, re.MULTILINE)


async def test_after_a_handover_each_gauge_stands_once(house: House) -> None:
    first = await house.admission().ready()
    # On a wrong partition: what is moved to the right one leaves the marker of a transaction behind it.
    for number in range(4):
        await house.publish(*(house.request(who, partition=number) for who in house.keys))
    await house.until(lambda results: len(results) == 4 * len(house.keys))
    assert sorted(labels(first, "easel_tenant_running", "tenant")) == sorted(house.keys)
    second = await house.admission().ready()
    deadline = time.monotonic() + 20
    while True:
        shown = [
            Counter(one for stage in (first, second) for one in labels(stage, metric, label))
            for metric, label in (
                ("easel_tenant_running", "tenant"),
                ("easel_admission_in_flight", "partition"),
                ("easel_admission_lag", "partition"),
            )
        ]
        expected = [Counter([*house.keys]), Counter("0123"), Counter("0123" * 3)]
        if shown == expected and labels(second, "easel_admission_lag", "partition"):
            break
        assert time.monotonic() < deadline, shown
        await asyncio.sleep(0.2)
    _, text = second.get("/metrics")
    assert set(re.findall(r"^easel_admission_lag{.*} (\S+)$", text, re.MULTILINE)) == {"0.0"}


async def test_what_waits_shows_as_pending_units_until_it_leaves(house: House) -> None:
    """Without a worker a partition sends one job here, and keeps the others."""
    stage = await house.admission(EASEL_ADMISSION_WINDOW_JOBS="1").ready()
    await house.publish(*(house.request("acme", images=2) for _ in range(4)))
    results = await house.until(lambda found: len(found) == 4)
    units = results[0]["cost_milliunits"] / 1000

    async def until_pending(requests: int) -> None:
        expected = pytest.approx(requests * units)
        await stage.until(
            lambda: stage.metric("easel_pending_units") == expected, 20, f"the work of {requests} is not shown"
        )

    await until_pending(3)
    (job,) = await house.events(house.topics.jobs("default"))
    await house.publish(report(house, succeeded(job["request_id"], pictures=2)))
    await until_pending(2)
