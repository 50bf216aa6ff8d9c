"""The move to more partitions on a real broker: cut off after every step, done again, and not a unit is lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from consumer.admission.init import initialise
from consumer.admission.ledger import INIT_KEY, Init
from consumer.faults import EXIT_CODE, VARIABLE
from consumer.process import EXIT_CONFIGURATION
from ops.cli.terminal import ExitCode
from ops.repartition.book_io import read_book
from schemas.catalog import load_catalog
from schemas.ids import new_id
from schemas.settings import Settings
from schemas.tenants import load_tenants
from schemas.topics import Topics
from tests.consumer.admission.test_hidden_ledger import left_open
from tests.consumer.admission.test_service import report
from tests.consumer.admission.world import failed, succeeded
from tests.consumer.generation.harness import environment
from tests.house import House
from tests.ops.cli_process import Ended, easel
from transport.errors import Misconfigured
from transport.partitioning import partition_of
from transport.topics import grow_topics

NEW = 6
TENANTS = [f"tenant-{number}" for number in range(8)]
STEPS = ("after_mark:2", "after_growth", "after_copy", "after_commitment", "after_clearing", "after_finish:2")


@pytest.fixture
async def house(settings: Settings, tmp_path: Path) -> AsyncIterator[House]:
    house = await House.build(settings, tmp_path, tenants=TENANTS)
    yield house
    house.close()


def command(house: House, *arguments: str, **more: str) -> Ended:
    variables = {**environment(house.settings, 0), "EASEL_TENANTS": str(house.settings.tenants), **more}
    return easel("topics", "repartition", *arguments, cwd=house.folder, variables=variables)


async def ledger(house: House, partitions: int) -> dict[str, tuple[int, Any]]:
    """Every account without its turn, and every request, with the partition that it stands on."""
    found: dict[str, tuple[int, Any]] = {}
    for number in range(partitions):
        state = (await house.ledger(number)).state
        entries: dict[str, Any] = {
            f"account {name}": (a.bucket, a.days, a.months) for name, a in state.accounts.items()
        }
        entries |= {f"request {key}": request for key, request in state.requests.items()}
        assert not entries.keys() & found.keys(), "something stands on two partitions"
        found |= {name: (number, entry) for name, entry in entries.items()}
    return found


def counted(house: House, partitions: int) -> House:
    """The same installation, as services with another EASEL_KAFKA_PARTITIONS see it."""
    kafka = house.settings.kafka.model_copy(update={"partitions": partitions})
    house.settings = house.settings.model_copy(update={"kafka": kafka})
    return house


@pytest.mark.timeout(240)
async def test_cut_off_after_every_step_and_finished(house: House) -> None:
    stage = await house.admission().ready()
    assert {partition_of(who.encode(), 4) == partition_of(who.encode(), NEW) for who in TENANTS} == {True, False}
    first = {who: [new_id() for _ in range(3)] for who in TENANTS}
    await house.publish(*(house.request(who, name=name) for who, names in first.items() for name in names))
    await house.until(lambda results: len(results) == 24)
    await house.publish(*(report(house, succeeded(names[0], who=who)) for who, names in first.items()))
    await house.until_ended(8)

    # It is not even stopped first: the first step shuts it out.
    died = await asyncio.to_thread(command, house, "--partitions", str(NEW), **{VARIABLE: f"repartition.{STEPS[0]}"})
    assert died.code == EXIT_CODE, died.err
    # Requests and reports that arrive meanwhile, from clients and workers that know of nothing.
    await house.publish(*(report(house, failed(names[1], who=who)) for who, names in first.items()))
    assert await stage.ended() == EXIT_CONFIGURATION
    assert f"easel topics repartition --partitions {NEW}" in stage.log.read_text()
    before = await ledger(house, 4)
    late = {who: new_id() for who in TENANTS}
    await house.publish(*(house.request(who, name=name) for who, name in late.items()))
    for step in STEPS[1:]:
        died = await asyncio.to_thread(command, house, "--partitions", str(NEW), **{VARIABLE: f"repartition.{step}"})
        assert died.code == EXIT_CODE, (step, died.err)
    refused = house.admission()
    assert await refused.ended() == EXIT_CONFIGURATION
    other = await asyncio.to_thread(command, house, "--partitions", "9")
    assert "finish it" in other.err
    done = await asyncio.to_thread(command, house, "--partitions", str(NEW))
    assert done.code == 0, done.err
    assert f"EASEL_KAFKA_PARTITIONS={NEW}" in done.err

    after = await ledger(house, NEW)
    assert {name: entry for name, (_, entry) in after.items()} == {name: entry for name, (_, entry) in before.items()}
    assert {number for number, _ in after.values()} - set(range(4)), "nothing has moved to a new partition"
    counted(house, NEW)
    await house.admission().ready()
    # The same ids again: what was accepted stays accepted, wherever its memory is now.
    await house.publish(*(house.request(who, name=names[0]) for who, names in first.items()))
    await house.until(
        lambda found: kinds(found)["generation.duplicate"] == 8 and kinds(found)["generation.accepted"] == 32
    )
    # A worker that was not restarted reports to where the tenants' accounts were.
    reports = [report(counted(house, 4), failed(name, who=who)) for who, name in late.items()]
    counted(house, NEW)
    rest = [report(house, succeeded(names[2], who=who)) for who, names in first.items()]
    await house.publish(*reports, *rest)
    await house.until_ended(32)
    await house.require_balance()
    assert await house.read(house.topics.dead_letters) == []


def kinds(results: list[dict[str, Any]]) -> Counter[str]:
    return Counter(one["kind"] for one in results)


async def test_what_can_not_be_done_is_refused_before_anything_changes(house: House) -> None:
    fewer = await asyncio.to_thread(command, house, "--partitions", "3")
    assert (fewer.code, "another prefix" in fewer.err) == (4, True), fewer.err
    same = await asyncio.to_thread(command, house, "--partitions", "4")
    assert (same.code, "nothing is under way" in same.out) == (0, True), same.err
    would = await asyncio.to_thread(command, house, "--partitions", "6", "--dry-run")
    assert "would move" in would.out
    for number in range(4):
        init = Init.model_validate_json((await read_book(house.settings.kafka, number)).latest[INIT_KEY])
        assert (init.partitions, init.moving) == (4, None)


async def test_a_ledger_whose_end_is_hidden_is_not_moved(house: House) -> None:
    """An older state would be moved in its place."""
    hanging = await left_open(house, house.topics.ledger, 1)
    refused = await asyncio.to_thread(command, house, "--partitions", "6")
    assert refused.code == ExitCode.UNAVAILABLE
    assert f"a transaction hides the end of {house.topics.ledger}[1]" in refused.err
    await hanging.abort_transaction()
    await hanging.stop()
    moved = await asyncio.to_thread(command, house, "--partitions", "6")
    assert moved.code == 0, moved.err


async def test_topics_that_were_grown_by_hand_are_not_taken_for_new_ones(house: House) -> None:
    """A new, empty partition of an old ledger would charge its tenants from zero again."""
    other = counted(house, NEW).settings
    with pytest.raises(Misconfigured, match="to what there is"):
        await initialise(other, load_catalog(other.models), load_tenants(other.tenants))
    specs = Topics(other.kafka.prefix).specs(partitions=NEW, jobs_partitions=4, replication=1, pools=["default"])
    await grow_topics(other.kafka, {spec.name: spec.partitions for spec in specs})
    with pytest.raises(Misconfigured, match=f"easel topics repartition --partitions {NEW}"):
        await initialise(other, load_catalog(other.models), load_tenants(other.tenants))
