"""The audit: an entry for each decision that was committed, with who asked and by which rules."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from ops.audit.entries import Entry, entry_of
from schemas.audit import AUDIT_HEADER
from schemas.ids import new_id
from schemas.settings import Settings
from tests.consumer.admission.test_service import report
from tests.consumer.admission.world import NOON_MS, World, request_id, rules, succeeded, tenant
from tests.consumer.generation.harness import environment
from tests.house import House
from tests.ops.cli_process import easel
from transport.records import Outgoing, Record


def entries(world: World) -> list[Entry]:
    """Of all that the world has said on results."""
    records = [
        Record(out.topic, 0, number, NOON_MS, out.key, out.value, out.headers)
        for number, out in enumerate(world.said)
        if out.topic.endswith(".results")
    ]
    return [entry for record in records if (entry := entry_of(record)) is not None]


def test_each_answer_says_who_asked_for_what_and_by_which_rules() -> None:
    world = World(rules(tenant("acme", queued=1, images=2), version=7))
    partition = world.rules.partition
    world.take(world.request(1), world.request(1), world.request(2, images=3), world.request(3, dry_run=True))
    accepted, duplicate, rejected, priced = entries(world)
    assert (accepted.decision, accepted.tenant, accepted.request_id) == ("accepted", "acme", request_id(1))
    assert (accepted.issuer, accepted.kid, accepted.tenants_version) == ("acme", "acme", 7)
    assert (accepted.asked, accepted.asked_id) == ("easel.generation.requested.v1", request_id(1))
    assert accepted.cost_milliunits == 1_000
    places = [one.place for one in (accepted, duplicate, rejected, priced)]
    assert places == [f"requests/{partition}@{offset}" for offset in range(4)]
    assert duplicate.body_sha256 == accepted.body_sha256 != rejected.body_sha256
    assert (rejected.decision, rejected.code) == ("rejected", "limit_exceeded")
    assert (priced.decision, priced.cost_milliunits) == ("priced", 1_000)


def test_an_end_is_an_entry_that_nobody_asked_for() -> None:
    world = World(rules(tenant("acme")))
    world.take(world.request(1))
    world.take(world.outcome(succeeded(request_id(1))))
    end = entries(world)[-1]
    assert (end.decision, end.cost_milliunits, end.issuer, end.place) == ("succeeded", 1_000, None, None)


def test_pictures_that_the_image_check_found_something_in_are_named() -> None:
    world = World(rules(tenant("acme")))
    world.take(world.request(1, images=3))
    report = succeeded(request_id(1), 2)
    flagged = report.outputs[1].model_copy(update={"flagged": True})
    world.take(world.outcome(report.model_copy(update={"outputs": [report.outputs[0], flagged], "blocked": [2]})))
    end = entries(world)[-1]
    assert (end.decision, end.blocked, end.flagged) == ("succeeded", (2,), (1,))


def test_a_tenants_own_topic_has_the_note_too() -> None:
    world = World(rules(tenant("acme"), own_topics=frozenset({"acme"})))
    world.take(world.request(1))
    noted = [out.topic for out in world.said if AUDIT_HEADER in dict(out.headers)]
    assert noted == ["t.results", "t.results.acme"]


@pytest.fixture
async def house(settings: Settings, tmp_path: Path) -> AsyncIterator[House]:
    house = await House.build(settings, tmp_path)
    yield house
    house.close()


async def test_the_command_lists_what_was_decided(house: House) -> None:
    await house.admission().ready()
    name = new_id()
    good = house.request("acme", name=name)
    forged = Outgoing(good.topic, b"{}", good.key, good.headers, good.partition)
    await house.publish(good)
    await house.publish(good, forged, house.request("bolt", images=99))
    await house.until(lambda results: len(results) == 3)
    await house.publish(report(house, succeeded(name)))
    await house.until_ended(1)
    variables = {**environment(house.settings, 0), "EASEL_TENANTS": str(house.settings.tenants)}
    said = await asyncio.to_thread(easel, "audit", "--json", cwd=house.folder, variables=variables)
    found = [json.loads(line) for line in said.out.splitlines()]
    assert sorted(one["decision"] for one in found) == [
        *("accepted", "dead_lettered", "duplicate", "rejected", "succeeded")
    ]
    assert [one["at_ms"] for one in found] == sorted(one["at_ms"] for one in found)
    mine = await asyncio.to_thread(easel, "audit", "--request", name, cwd=house.folder, variables=variables)
    assert len(mine.out.splitlines()) == 3
    assert "by acme (acme-1), tenants.yaml v1" in mine.out
    later = await asyncio.to_thread(easel, "audit", "--since", "yesterday", cwd=house.folder, variables=variables)
    assert later.code == 2


def test_a_note_that_is_none_spoils_nothing() -> None:
    world = World(rules(tenant("acme")))
    world.take(world.request(1))
    out = world.said[0]
    record = Record(out.topic, 0, 0, NOON_MS, out.key, out.value, ((AUDIT_HEADER, b"x"), ("ce_type", b"y")))
    assert entry_of(record) is None
    assert entry_of(replace(record, value=b"[]", headers=(("ce_type", b"easel.generation.accepted.v1"),))) is None
