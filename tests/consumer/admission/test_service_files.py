"""Files that change under a running admission: applied from the next batch on, or refused and said."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from schemas.ids import new_id
from schemas.settings import Settings
from tests.consumer.admission.test_service import kinds
from tests.house import House


@pytest.fixture
async def house(settings: Settings, tmp_path: Path) -> AsyncIterator[House]:
    house = await House.build(settings, tmp_path)
    yield house
    house.close()


async def test_a_new_tenants_file_applies_and_a_wrong_one_does_not(house: House) -> None:
    stage = await house.admission().ready()
    house.write_tenants(2, {"queued": 1, "images": 1})
    await house.until_log(stage, "applied")
    await house.publish(house.request("acme", images=2))
    results = await house.until(lambda found: kinds(found)["generation.rejected"] == 1)
    assert results[0]["error"]["code"] == "limit_exceeded"
    house.write_tenants(3, {"queued": 0})
    await house.until_log(stage, "refused")
    status, body = stage.get("/health/ready")
    assert status == 503
    assert "queued" in body
    # The file in force comes back as it was: there is nothing to refuse any more.
    house.write_tenants(2, {"queued": 1, "images": 1})
    await stage.ready()
    house.write_tenants(2, {"queued": 7})
    await house.until_log(stage, "refused", times=2)
    await house.publish(house.request("acme"))
    await house.until(lambda found: kinds(found)["generation.accepted"] == 1)


async def test_a_new_models_file_applies_and_a_wrong_one_does_not(house: House) -> None:
    stage = await house.admission().ready()
    first = house.settings.models.read_text()

    async def cost(images: int = 1, *, of: int) -> int:
        await house.publish(house.request("acme", images=images))
        results = await house.until(lambda found: len(found) == of)
        return int(results[-1]["cost_milliunits"])

    before = await cost(of=1)
    house.settings.models.write_text(first.replace("steps: 4", "steps: 8"))
    await house.until_log(stage, "applied")
    assert await cost(of=2) == 2 * before
    # A file that can't be used, and a pool that has no topic: what is in force stays.
    for times, (wrong, said) in enumerate(
        [(first + "    no_such_field: 1\n", "no_such_field"), (first + "    pool: big\n", "run `easel topics`")], 1
    ):
        house.settings.models.write_text(wrong)
        await house.until_log(stage, "refused", times=times)
        status, body = stage.get("/health/ready")
        assert (status, said in body) == (503, True), body
        assert await cost(of=2 + times) == 2 * before
    house.settings.models.write_text(first)
    await house.until_log(stage, "applied", times=2)
    await stage.ready()
    assert await cost(of=5) == before


async def test_a_pool_is_drained_and_used_again_without_a_restart(house: House) -> None:
    stage = await house.admission().ready()
    first = house.settings.models.read_text()
    house.settings.models.write_text(first + "draining: [default]\n")
    await house.until_log(stage, "applied")
    name = new_id()
    await house.publish(house.request("acme", name=name))
    await house.until(lambda results: kinds(results)["generation.accepted"] == 1)
    await stage.until(lambda: stage.metric("easel_pool_draining") == 1, 20, "the metric does not say so")
    status, body = stage.get("/health/ready")
    assert (status, "draining" in body) == (200, True), body
    assert stage.metric("easel_admission_queued") == 1
    assert await house.events(house.topics.jobs("default")) == []
    house.settings.models.write_text(first)
    await stage.until(lambda: stage.metric("easel_admission_in_flight") == 1, 20, "nothing leaves again")
    assert [job["request_id"] for job in await house.events(house.topics.jobs("default"))] == [name]


async def test_an_older_tenants_file_waits_unready(house: House) -> None:
    """The ledger has seen version 5: keys and limits that it withdrew must not come back."""
    house.write_tenants(5, {})
    first = await house.admission().ready()
    await house.publish(house.request("acme"))
    await house.until(lambda results: kinds(results)["generation.accepted"] == 1)
    first.signal(signal.SIGTERM)
    await first.ended()
    house.write_tenants(4, {})
    stage = house.admission()
    await house.until_log(stage, "assigned")
    await house.publish(house.request("acme"))
    await stage.until(lambda: "waits for version 5" in stage.get("/health/ready")[1], 20, "it does not say so")
    assert stage.get("/health/ready")[0] == 503
    assert kinds(await house.results())["generation.accepted"] == 1
    house.write_tenants(6, {})
    await stage.ready()
    await house.until(lambda results: kinds(results)["generation.accepted"] == 2)
