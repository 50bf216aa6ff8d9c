"""Admission as processes on a real broker: decided once, whatever ends them where."""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from consumer.admission.init import initialise
from consumer.admission.ledger import INIT_KEY
from consumer.faults import EXIT_CODE, VARIABLE
from consumer.process import EXIT_CONFIGURATION
from schemas.catalog import load_catalog
from schemas.envelope import Envelope
from schemas.events import Event
from schemas.ids import new_id
from schemas.jobs import JobStarted
from schemas.settings import Settings
from schemas.tenants import load_tenants
from tests.consumer.admission.world import failed, succeeded
from tests.house import House
from tests.stack import OwnBroker
from transport.errors import Misconfigured
from transport.partitioning import partition_of
from transport.records import Outgoing
from transport.topics import ensure_topics
from transport.transactions import FencedProducer


@pytest.fixture
async def house(settings: Settings, tmp_path: Path) -> AsyncIterator[House]:
    house = await House.build(settings, tmp_path)
    yield house
    house.close()


def report(house: House, event: Event) -> Outgoing:
    """What a worker would say."""
    envelope = Envelope(id=str(uuid.uuid4()), type=event.TYPE, source="test", data=event.model_dump_json().encode())
    home = partition_of(event.tenant.encode(), house.settings.kafka.partitions)
    return Outgoing(house.topics.outcomes, envelope.data, event.tenant.encode(), envelope.headers(), home)


def kinds(results: list[dict[str, Any]]) -> Counter[str]:
    return Counter(one["kind"] for one in results)


async def test_decided_told_held_sent_and_ended(house: House) -> None:
    await house.admission().ready()
    names = {who: new_id() for who in house.keys}
    await house.publish(*(house.request(who, name=name) for who, name in names.items()))
    await house.until(lambda results: kinds(results)["generation.accepted"] == 3)
    jobs = await house.events(house.topics.jobs("default"))
    assert {(job["tenant"], job["request_id"], job["attempt"]) for job in jobs} == {(w, n, 1) for w, n in names.items()}
    await house.publish(*(report(house, succeeded(name, who=who)) for who, name in names.items()))
    await house.until_ended(3)
    await house.require_balance()


async def test_the_wrong_partition_is_no_matter(house: House) -> None:
    """Other clients hash otherwise: their requests are moved to where their tenant's account lives."""
    await house.admission().ready()
    names = [new_id() for _ in range(4)]
    await house.publish(*(house.request("acme", name=name, partition=number) for number, name in enumerate(names)))
    results = await house.until(lambda found: kinds(found)["generation.accepted"] == 4)
    assert {one["partition_"] for one in results} == {partition_of(b"acme", 4)}
    assert len(await house.read(house.topics.rerouted)) == 3


async def test_what_nobody_signed_goes_to_the_dead_letters(house: House) -> None:
    await house.admission().ready()
    good = house.request("acme")
    forged = Outgoing(good.topic, b"{}", good.key, good.headers, good.partition)
    large = Outgoing(good.topic, b"x" * 1_000_000, good.key, (), good.partition)
    await house.publish(forged, large, good)
    await house.until(lambda results: kinds(results)["generation.accepted"] == 1)
    letters = await house.events(house.topics.dead_letters)
    assert sorted(letter["cause"]["code"] for letter in letters) == ["body_mismatch", "envelope_invalid"]
    assert max(letter["value_bytes"] for letter in letters) == 1_000_000


@pytest.mark.parametrize(
    "point", ["after_fence", "after_restore", "before_send", "before_offsets", "before_commit", "after_commit"]
)
async def test_a_crash_at_each_step_decides_everything_once(house: House, point: str) -> None:
    doomed = house.admission(**{VARIABLE: f"admission.{point}"})
    names = [new_id() for _ in range(12)]
    who = list(house.keys)
    await house.publish(*(house.request(who[n % 3], name=name) for n, name in enumerate(names)))
    assert await doomed.ended() == EXIT_CODE
    await house.admission().ready()
    results = await house.until(lambda found: kinds(found)["generation.accepted"] >= 12)
    assert Counter(one["request_id"] for one in results) == Counter(names)
    jobs = await house.events(house.topics.jobs("default"))
    assert Counter(job["request_id"] for job in jobs) == Counter(names)
    await house.publish(*(report(house, failed(name, who=who[n % 3])) for n, name in enumerate(names)))
    await house.until_ended(12)
    await house.require_balance()


async def test_everything_is_remembered_over_a_restart(house: House) -> None:
    first = await house.admission().ready()
    name, other = new_id(), new_id()
    again = house.request("acme", name=name)
    await house.publish(again)
    await house.until(lambda results: kinds(results)["generation.accepted"] == 1)
    first.signal(signal.SIGTERM)
    assert await first.ended() == 0
    await house.publish(again, house.request("bolt", name=other), report(house, succeeded(name)))
    await house.admission().ready()
    await house.until_ended(1)
    # They are answered by two partitions, in no order.
    wanted = {"generation.duplicate": 1, "generation.accepted": 2}
    await house.until(lambda found: all(kinds(found)[kind] == number for kind, number in wanted.items()))


async def test_a_zombie_is_fenced(house: House) -> None:
    """Stopped beyond its session, replaced, woken: what it decides then becomes visible to nobody."""
    zombie = await house.admission().ready()
    zombie.signal(signal.SIGSTOP)
    names = [new_id() for _ in range(8)]
    await house.publish(*(house.request("acme", name=name) for name in names))
    await house.admission().ready()
    await house.until(lambda results: kinds(results)["generation.accepted"] == 8)
    zombie.signal(signal.SIGCONT)
    more = [new_id() for _ in range(8)]
    await house.publish(*(house.request("bolt", name=name) for name in more))
    await zombie.ready()
    results = await house.until(lambda found: kinds(found)["generation.accepted"] >= 16)
    assert Counter(one["request_id"] for one in results) == Counter([*names, *more])


async def test_without_init_it_refuses_to_start(settings: Settings, tmp_path: Path, house: House) -> None:
    """An empty ledger never looks like a new start."""
    bare = House(
        house.settings.model_copy(
            update={"kafka": settings.kafka.model_copy(update={"prefix": f"{settings.kafka.prefix}x"})}
        ),
        house.topics,
        house.keys,
        tmp_path,
    )
    specs = type(house.topics)(bare.settings.kafka.prefix).specs(
        partitions=4, jobs_partitions=4, replication=1, pools=["default"]
    )
    await ensure_topics(bare.settings.kafka, specs)
    stage = bare.admission()
    assert await stage.ended() == EXIT_CONFIGURATION
    assert "easel topics" in stage.log.read_text()


async def test_another_installations_ledger_is_refused(house: House) -> None:
    stage = house.admission(EASEL_INSTALLATION="another")
    assert await stage.ended() == EXIT_CONFIGURATION
    assert "belongs to" in stage.log.read_text()
    with pytest.raises(Misconfigured, match="choose another prefix"):
        await initialise(
            house.settings.model_copy(update={"installation": "another"}),
            load_catalog(house.settings.models),
            load_tenants(house.settings.tenants),
        )


async def test_a_lost_ledger_beside_read_requests_is_not_marked_again(house: House) -> None:
    await house.publish(house.request("acme"))
    home = partition_of(b"acme", 4)
    producer = FencedProducer(house.settings.kafka, transactional_id=f"{house.settings.kafka.prefix}-admission-{home}")
    await producer.start()
    await producer.commit([Outgoing(house.topics.ledger, None, INIT_KEY, partition=home)], {}, "g")
    await producer.close()
    catalog, directory = load_catalog(house.settings.models), load_tenants(house.settings.tenants)
    with pytest.raises(Misconfigured, match="the ledger is empty but its inputs hold records"):
        await initialise(house.settings, catalog, directory)
    await initialise(house.settings, catalog, directory, start_at="earliest")
    await house.admission().ready()
    await house.until(lambda results: kinds(results)["generation.accepted"] == 1)


async def test_a_start_of_a_job_is_kept(house: House) -> None:
    await house.admission().ready()
    name = new_id()
    await house.publish(house.request("acme", name=name))
    await house.until(lambda results: kinds(results)["generation.accepted"] == 1)
    await house.publish(
        report(house, JobStarted(tenant="acme", request_id=name, attempt=1, worker="w")),
        house.request("acme", name=name),
    )
    results = await house.until(lambda found: kinds(found)["generation.duplicate"] == 1)
    assert results[-1]["state"] in ("dispatched", "running")


async def test_a_port_that_is_taken_is_one_line(house: House) -> None:
    first = await house.admission().ready()
    second = house.admission(EASEL_ADMISSION_HEALTH_PORT=str(first.port))
    assert await second.ended() == EXIT_CONFIGURATION
    (line,) = [line for line in second.log.read_text().splitlines() if "EASEL_ADMISSION_HEALTH_PORT" in line]
    assert "Traceback" not in second.log.read_text()
    assert str(first.port) in line


async def test_without_a_broker_it_is_not_ready_and_does_not_shout(
    own_broker: OwnBroker, settings: Settings, tmp_path: Path
) -> None:
    house = await House.build(settings.model_copy(update={"kafka": own_broker.settings}), tmp_path)
    try:
        stage = await house.admission().ready()
        await asyncio.to_thread(own_broker.stop)
        before = len(stage.log.read_text().splitlines())
        deadline = asyncio.get_running_loop().time() + 30
        while "Kafka has not answered" not in stage.get("/health/ready")[1]:
            assert asyncio.get_running_loop().time() < deadline, stage.get("/health/ready")
            await asyncio.sleep(0.2)
        assert len(stage.log.read_text().splitlines()) - before < 200
        await asyncio.to_thread(own_broker.start)
        await stage.ready()
        await house.publish(house.request("acme"))
        await house.until(lambda results: kinds(results)["generation.accepted"] == 1)
    finally:
        house.close()
