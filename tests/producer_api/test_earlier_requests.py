"""The SDK on what was published before, on much at once, and on what it all cost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from producer_api import Client, Handle, RequestRejected, ResultGone, Submission
from schemas.connection import KafkaSettings
from schemas.envelope import Envelope
from schemas.events import Balance, UsageHeld, UsageSettled
from schemas.ids import event_id, new_id
from schemas.requests import GenerationRequest
from tests.producer_api.support import (
    SIGNER,
    TENANT,
    Announcer,
    accepted,
    home,
    make_topics,
    step,
    succeeded,
)
from transport.kafka import Publisher
from transport.records import Outgoing
from transport.tail import read_partition

REQUEST = GenerationRequest(prompt="a small red circle", model="easel-tiny", seed=7)


def client_of(kafka: KafkaSettings) -> Client:
    return Client(tenant=TENANT, signer=SIGNER, kafka=kafka)


def neighbour(kafka: KafkaSettings) -> str:
    """Another tenant, of the same partition."""
    return next(name for name in map("tenant-{}".format, count()) if home(kafka, name) == home(kafka))


def id_of(age: timedelta) -> str:
    """The id of a request that was made so long ago."""
    ms = int((datetime.now(UTC) - age).timestamp() * 1000)
    digits = f"{ms:012x}"
    return f"{digits[:8]}-{digits[8:]}{new_id()[13:]}"


async def test_what_ended_before_is_read_back(kafka: KafkaSettings, announcer: Announcer) -> None:
    ids = [new_id() for _ in range(3)]
    await announcer.say(succeeded(ids[1], b"another's", neighbour(kafka)))
    await announcer.say(*(accepted(id_) for id_ in ids), *(succeeded(id_) for id_ in ids))
    async with client_of(kafka) as client:
        done = await client.result(ids[1], timeout_s=20)
        assert done == succeeded(ids[1])
        async with asyncio.timeout(20):
            told = [event.TYPE.split(".")[2] async for event in client.events(ids[2])]
        assert told == ["accepted", "succeeded"]


async def test_what_goes_on_is_followed_from_its_beginning_to_its_end(
    kafka: KafkaSettings, announcer: Announcer
) -> None:
    id_ = new_id()
    await announcer.say(accepted(id_))
    async with client_of(kafka) as client:
        handle = client.follow(id_)
        await handle.decision(timeout_s=20)
        await announcer.show(step(id_, 3))
        await announcer.say(succeeded(id_))
        assert await handle.result(timeout_s=20) == succeeded(id_)


async def test_a_request_of_which_nothing_is_known_is_gone_unless_it_is_new(
    kafka: KafkaSettings, announcer: Announcer
) -> None:
    new, old = new_id(), id_of(timedelta(minutes=11))
    async with client_of(kafka) as client:
        young = client.follow(new)
        with pytest.raises(ResultGone) as gone:
            await client.result(old, timeout_s=20)
        assert gone.value.request_id == old
        await announcer.say(accepted(new), succeeded(new))
        assert (await young.result(timeout_s=20)).request_id == new
        with pytest.raises(RequestRejected, match="not the id of a request"):
            client.follow("../../etc/passwd")


async def test_many_are_published_in_their_order_and_asked_for_no_faster_than_taken(kafka: KafkaSettings) -> None:
    await make_topics(kafka)
    ids = [new_id() for _ in range(60)]
    asked: list[str] = []

    def requests() -> Iterator[Submission]:
        for id_ in ids:
            asked.append(id_)
            yield Submission(REQUEST, request_id=id_)

    async with client_of(kafka) as client:
        handles = []
        async for handle in client.submit_many(requests(), unacknowledged=10):
            handles.append(handle)
            assert len(asked) - len(handles) <= 10
    assert [handle.request_id for handle in handles] == ids
    published = [
        Envelope.read(record.headers, record.value).id
        for number in range(kafka.partitions)
        async for batch in read_partition(kafka, f"{kafka.prefix}.requests", number)
        for record in batch
    ]
    assert published == ids


async def test_no_more_are_under_way_than_may_be(kafka: KafkaSettings, announcer: Announcer) -> None:
    ids = [new_id() for _ in range(5)]
    came: list[str] = []

    async def submit(client: Client) -> None:
        async for handle in client.submit_many([Submission(REQUEST, request_id=id_) for id_ in ids], unfinished=2):
            came.append(handle.request_id)  # noqa: PERF401 - seen as they come

    async with client_of(kafka) as client:
        submitting = asyncio.create_task(submit(client))
        for ended in range(len(ids)):
            async with asyncio.timeout(20):
                while len(came) < min(  # noqa: ASYNC110 - it is what a caller sees
                    ended + 2, len(ids)
                ):
                    await asyncio.sleep(0.02)
            # What it would take to publish one too many.
            await asyncio.sleep(0.1)
            assert came == ids[: ended + 2]
            await announcer.say(accepted(ids[ended]), succeeded(ids[ended]))
        await asyncio.wait_for(submitting, 20)


async def test_one_that_cannot_be_published_ends_them_all(kafka: KafkaSettings) -> None:
    await make_topics(kafka)
    stale = id_of(timedelta(days=3))
    came: list[Handle] = []

    async def submit(client: Client) -> None:
        async for handle in client.submit_many([Submission(REQUEST), Submission(REQUEST, request_id=stale)] * 3):
            came.append(handle)  # noqa: PERF401 - those before the error count

    async with client_of(kafka) as client:
        with pytest.raises(RequestRejected) as refused:
            await submit(client)
    assert refused.value.request_id == stale
    assert len(came) == 1


async def test_usage_is_the_tenants_own_entries(kafka: KafkaSettings) -> None:
    topics = await make_topics(kafka)
    balance = Balance(period="2026-11-21", held=211, settled=0, refunded=0, outstanding=211)

    def entry(shape: type[UsageHeld | UsageSettled], tenant: str, id_: str) -> Outgoing:
        event = shape(tenant=tenant, request_id=id_, milliunits=211, model="m", day=balance, month=balance)
        envelope = Envelope(
            id=event_id(tenant, id_, shape.TYPE, 0),
            type=shape.TYPE,
            source="easel",
            subject=id_,
            data=event.model_dump_json().encode(),
        )
        return Outgoing(topics.usage, envelope.data, key=tenant.encode(), headers=envelope.headers())

    id_ = new_id()
    async with Publisher(kafka, client_id="test") as publisher:
        for one in (
            entry(UsageHeld, TENANT, id_),
            entry(UsageHeld, neighbour(kafka), new_id()),
            Outgoing(topics.usage, b"{", key=TENANT.encode()),
            entry(UsageSettled, TENANT, id_),
        ):
            await publisher.publish(one)
    async with client_of(kafka) as client:
        found = [one async for one in client.usage()]
        assert [(one.TYPE, one.request_id) for one in found] == [(UsageHeld.TYPE, id_), (UsageSettled.TYPE, id_)]
        later = datetime.now(UTC) + timedelta(seconds=5)
        assert [one async for one in client.usage(since=later)] == []
