"""One tenant's odd record is its own; exceptions of three tenants stop the partition, and nothing is thrown away."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from consumer.admission import quota
from consumer.admission.blame import BadRelease, Blame
from consumer.admission.service import Admission
from schemas.settings import AdmissionSettings, Settings
from tests.consumer.admission.world import neighbours
from tests.house import House


def test_three_tenants_within_a_minute() -> None:
    blame = Blame()
    blame.note(["acme", "acme", "bolt"], 0.0)
    with pytest.raises(BadRelease):
        blame.note(["cord"], 59.0)


def test_one_tenant_may_fail_for_ever() -> None:
    blame = Blame()
    for second in range(100):
        blame.note(["acme"], float(second))


def test_what_is_long_past_is_forgiven() -> None:
    blame = Blame()
    blame.note(["acme", "bolt"], 0.0)
    blame.note(["cord"], 60.0)


async def test_the_partition_stops_loudly_and_throws_nothing_away(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = neighbours(3)
    house = await House.build(settings, tmp_path, tenants=who)

    def broken(*_: Any) -> Any:
        raise RuntimeError("a bug of this release")

    monkeypatch.setattr(quota, "take_token", broken)
    await house.publish(*(house.request(name) for name in who))
    local = house.settings.model_copy(update={"admission": AdmissionSettings(health_port=0, session_timeout_s=3)})
    stop = asyncio.Event()
    service = Admission(local)
    running = asyncio.create_task(service.run(stop))
    try:
        async with asyncio.timeout(20):
            while not any("stopped" in reason for reason in service.readiness().reasons):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert await house.results() == []
        assert await house.read(house.topics.dead_letters) == []
    finally:
        stop.set()
        await asyncio.wait_for(running, 20)
    # The release before knows what to do with them.
    monkeypatch.undo()
    await house.admission().ready()
    try:
        await house.until(lambda results: sum(one["kind"] == "generation.accepted" for one in results) == 3)
    finally:
        house.close()
