"""The SDK against a real broker: what is submitted arrives once, and what is answered reaches who asked."""

from __future__ import annotations

import asyncio

import pytest

from producer_api import Client, Handle, RequestRejected, ResultGone, TimedOut, Unreachable
from schemas.connection import KafkaSettings
from schemas.envelope import Envelope
from schemas.errors import Code
from schemas.events import Event
from schemas.ids import new_id
from schemas.requests import read_request
from tests.producer_api.support import (
    OTHER,
    SIGNER,
    TENANT,
    Announcer,
    accepted,
    duplicate,
    home,
    make_topics,
    next_request,
    rejected,
    started,
    step,
    succeeded,
)
from tests.stack import OwnBroker
from transport.tail import read_partition

PROMPT = "a small red circle on a white background"


def client_of(kafka: KafkaSettings) -> Client:
    return Client(tenant=TENANT, signer=SIGNER, kafka=kafka)


async def submit(client: Client, *, request_id: str | None = None, timeout_s: float = 30) -> Handle:
    return await client.submit(PROMPT, model="easel-tiny", images=2, seed=7, request_id=request_id, timeout_s=timeout_s)


async def told(handle: Handle, found: list[Event] | None = None) -> list[Event]:
    """Its events, to the last; each also in ``found``, when it comes."""
    found = [] if found is None else found
    async with asyncio.timeout(20):
        async for event in handle.events():
            found.append(event)
    return found


async def test_a_request_is_followed_from_its_submission_to_its_pictures(
    kafka: KafkaSettings, announcer: Announcer
) -> None:
    async with client_of(kafka) as client:
        handle = await submit(client)
        id_ = handle.request_id
        record = await next_request(kafka)
        assert Envelope.read(record.headers, record.value).id == id_
        assert record.partition == home(kafka)
        assert read_request(record.value or b"").images == 2

        found: list[Event] = []
        reading = asyncio.create_task(told(handle, found))
        await announcer.say(accepted(id_))
        assert await handle.decision(timeout_s=10) == accepted(id_)
        await announcer.show(started(id_), step(id_, 6), step(id_, 12))
        async with asyncio.timeout(20):
            while len(found) < 4:  # noqa: ASYNC110 - the reader tells nobody
                await asyncio.sleep(0.02)
        await announcer.say(succeeded(id_))
        assert await handle.result(timeout_s=10) == succeeded(id_)
        assert await reading == [accepted(id_), started(id_), step(id_, 6), step(id_, 12), succeeded(id_)]


async def test_an_answer_that_is_there_before_anyone_listens_is_not_lost(
    kafka: KafkaSettings, announcer: Announcer
) -> None:
    async with client_of(kafka) as client:
        id_ = new_id()
        handle = await submit(client, request_id=id_)
        await announcer.say(accepted(id_), succeeded(id_))
        await asyncio.sleep(0.5)
        assert await told(handle) == [accepted(id_), succeeded(id_)]


async def test_an_event_that_was_published_again_is_told_once(kafka: KafkaSettings, announcer: Announcer) -> None:
    async with client_of(kafka) as client:
        handle = await submit(client)
        id_ = handle.request_id
        for _ in range(2):
            await announcer.say(accepted(id_))
            await announcer.show(started(id_))
        await announcer.say(succeeded(id_))
        found = await told(handle)
        assert found[0] == accepted(id_)
        assert found[-1] == succeeded(id_)
        assert found.count(accepted(id_)) == 1
        assert found.count(started(id_)) <= 1


async def test_the_same_id_of_another_tenant_is_another_request(kafka: KafkaSettings, announcer: Announcer) -> None:
    async with client_of(kafka) as client:
        handle = await submit(client)
        id_ = handle.request_id
        await announcer.say(accepted(id_, OTHER), succeeded(id_, tenant=OTHER))
        await announcer.say(accepted(id_), succeeded(id_))
        assert [event.tenant for event in await told(handle)] == [TENANT, TENANT]


async def test_a_transaction_that_was_not_committed_says_nothing(kafka: KafkaSettings, announcer: Announcer) -> None:
    async with client_of(kafka) as client:
        handle = await submit(client)
        id_ = handle.request_id

        def die(point: str) -> None:
            if point == "before_commit":
                raise RuntimeError("a crash")

        with pytest.raises(RuntimeError):
            await announcer._producer.commit([announcer.result(rejected(id_))], {}, "none", at=die)
        async with Announcer(kafka) as successor:
            await successor.say(accepted(id_), succeeded(id_))
            assert await told(handle) == [accepted(id_), succeeded(id_)]


async def test_one_handle_that_nobody_reads_holds_up_no_other(kafka: KafkaSettings, announcer: Announcer) -> None:
    async with client_of(kafka) as client:
        unread, read = await submit(client), await submit(client)
        reader = unread.events()
        await announcer.say(accepted(unread.request_id), accepted(read.request_id))
        assert await anext(reader) == accepted(unread.request_id)
        await announcer.show(started(unread.request_id), *(step(unread.request_id, n) for n in range(1, 300)))
        await announcer.say(succeeded(read.request_id))
        assert await read.result(timeout_s=10) == succeeded(read.request_id)
        assert not unread.done


async def test_a_refusal_is_raised_with_what_admission_said(kafka: KafkaSettings, announcer: Announcer) -> None:
    async with client_of(kafka) as client:
        handle = await submit(client)
        await announcer.say(rejected(handle.request_id, retry_after_s=3))
        with pytest.raises(RequestRejected) as refused:
            await handle.result(timeout_s=10)
        assert refused.value.error.code == Code.RATE_LIMITED
        assert refused.value.retry_after_s == 3


async def test_a_request_that_cannot_be_right_is_not_published(kafka: KafkaSettings, announcer: Announcer) -> None:
    async with client_of(kafka) as client:
        with pytest.raises(RequestRejected) as refused:
            await client.submit(PROMPT, model="easel-tiny", images=11)
        assert refused.value.error.param == "images"
        with pytest.raises(RequestRejected) as refused:
            await submit(client, request_id="7")
        assert refused.value.error.code == Code.ID_INVALID
        handle = await submit(client)
    found = [
        Envelope.read(record.headers, record.value).id
        async for batch in read_partition(kafka, announcer.topics.requests, home(kafka))
        for record in batch
    ]
    assert found == [handle.request_id]


async def test_a_request_that_ended_long_before_is_found_by_submitting_it_again(
    kafka: KafkaSettings, announcer: Announcer
) -> None:
    id_ = new_id()
    await announcer.say(accepted(id_), succeeded(id_))
    async with client_of(kafka) as client:
        handle = await submit(client, request_id=id_)
        await announcer.say(duplicate(id_, "succeeded"))
        assert await told(handle) == [duplicate(id_, "succeeded"), succeeded(id_)]


async def test_an_ending_that_is_kept_no_longer_is_said_to_be_gone(kafka: KafkaSettings, announcer: Announcer) -> None:
    async with client_of(kafka) as client:
        handle = await submit(client)
        await announcer.say(duplicate(handle.request_id, "succeeded"))
        with pytest.raises(ResultGone):
            await handle.result(timeout_s=20)


async def test_closing_the_client_ends_what_is_open(kafka: KafkaSettings, announcer: Announcer) -> None:
    async with client_of(kafka) as client:
        handle = await submit(client)
        waiting = asyncio.create_task(handle.result())
        await asyncio.sleep(0)
    with pytest.raises(Unreachable, match="closed"):
        await waiting


async def test_a_broker_that_is_not_there_is_said_at_the_start() -> None:
    with pytest.raises(Unreachable):
        async with asyncio.timeout(20), client_of(KafkaSettings(bootstrap_servers="127.0.0.1:1")):
            pass


async def test_a_broker_that_goes_away_costs_no_request_and_no_answer(own_broker: OwnBroker) -> None:
    kafka = own_broker.settings
    await make_topics(kafka)
    async with client_of(kafka) as client:
        handle = await submit(client)
        await asyncio.to_thread(own_broker.stop, hard=True)

        id_ = new_id()
        with pytest.raises(TimedOut) as late:
            await submit(client, request_id=id_, timeout_s=2)
        assert late.value.request_id == id_

        across = asyncio.create_task(submit(client, request_id=id_, timeout_s=60))
        await asyncio.to_thread(own_broker.start)
        again = await across
        async with Announcer(kafka) as announcer:
            await announcer.say(accepted(handle.request_id), succeeded(handle.request_id))
            await announcer.say(accepted(id_), duplicate(id_), succeeded(id_))
            assert await told(handle) == [accepted(handle.request_id), succeeded(handle.request_id)]
            assert await told(again) == [accepted(id_), succeeded(id_)]
