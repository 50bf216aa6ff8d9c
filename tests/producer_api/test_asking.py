"""The SDK asks for a cancel, a delete and a price: the answer to its own event, or one typed error, in time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from producer_api import (
    Client,
    GenerationCanceled,
    NotCanceled,
    NotDeleted,
    RequestRejected,
    TimedOut,
    Unreachable,
)
from schemas.connection import KafkaSettings
from schemas.envelope import Envelope
from schemas.errors import Code
from schemas.events import Event
from schemas.ids import new_id
from schemas.requests import CancelRequest, DeleteRequest, GenerationRequest, read_request
from tests.producer_api.support import (
    OTHER,
    Announcer,
    accepted,
    answer_event,
    cancel_accepted,
    cancel_refused,
    canceled,
    delete_refused,
    deleted,
    duplicate,
    error,
    home,
    next_request,
    priced,
    rejected,
    succeeded,
)
from tests.producer_api.test_client import PROMPT, client_of, submit, told
from transport.tail import read_partition


def others(id_: str, event_id: str) -> Event:
    """Another tenant's answer under the same ids: no business of ours."""
    return cancel_accepted(id_, event_id, "queued", OTHER)


def earlier(id_: str, event_id: str) -> Event:
    """The answer to another cancel of the same request."""
    return cancel_accepted(id_, new_id(), "queued")


async def test_a_handle_is_canceled_and_tells_its_end(kafka: KafkaSettings, announcer: Announcer) -> None:
    async with client_of(kafka) as client:
        handle = await submit(client)
        id_ = handle.request_id
        await announcer.say(accepted(id_))
        async with asyncio.TaskGroup() as group:
            said = group.create_task(
                answer_event(
                    kafka, announcer, CancelRequest.TYPE, others, earlier, cancel_accepted, lambda t, _: canceled(t)
                )
            )
            asked = group.create_task(handle.cancel(timeout_s=15))
        assert (asked.result().state, asked.result().request_id) == ("running", id_)
        assert said.result().partition == home(kafka)
        with pytest.raises(GenerationCanceled) as ended:
            await handle.result(timeout_s=10)
        assert ended.value.error.code == Code.CANCELED
        assert ended.value.event.refunded_milliunits == 211


async def test_what_had_ended_is_not_canceled(kafka: KafkaSettings, announcer: Announcer) -> None:
    async with client_of(kafka) as client, asyncio.TaskGroup() as group:
        group.create_task(answer_event(kafka, announcer, CancelRequest.TYPE, cancel_refused))
        with pytest.raises(NotCanceled) as refused:
            await client.cancel(new_id(), timeout_s=15)
        assert (refused.value.error.code, refused.value.event.state) == (Code.ALREADY_ENDED, "succeeded")


async def test_a_refused_handle_has_nothing_to_cancel(kafka: KafkaSettings, announcer: Announcer) -> None:
    async with client_of(kafka) as client:
        handle = await submit(client)
        await announcer.say(rejected(handle.request_id))
        with pytest.raises(RequestRejected):
            await handle.cancel(timeout_s=10)


@pytest.mark.parametrize("code", [None, Code.NOT_ENDED, Code.NOT_FOUND])
async def test_pictures_are_deleted_or_it_is_said_why_not(
    kafka: KafkaSettings, announcer: Announcer, code: Code | None
) -> None:
    def answer(id_: str, event_id: str) -> Event:
        return deleted(id_, event_id) if code is None else delete_refused(id_, event_id, code)

    async with client_of(kafka) as client, asyncio.TaskGroup() as group:
        group.create_task(answer_event(kafka, announcer, DeleteRequest.TYPE, answer))
        id_ = new_id()
        if code is None:
            assert (await client.delete(id_, timeout_s=15)).objects == 2
        else:
            with pytest.raises(NotDeleted) as refused:
                await client.delete(id_, timeout_s=15)
            assert (refused.value.error.code, refused.value.request_id) == (code, id_)


@pytest.mark.parametrize("refusal", [None, error()])
async def test_a_price_is_told_also_where_it_would_be_refused(
    kafka: KafkaSettings, announcer: Announcer, refusal: Any
) -> None:
    async with client_of(kafka) as client, asyncio.TaskGroup() as group:
        said = group.create_task(
            answer_event(kafka, announcer, GenerationRequest.TYPE, lambda _, own: priced(own, refusal))
        )
        found = await client.price(PROMPT, model="easel-tiny", images=2, timeout_s=15)
        assert (found.cost_milliunits, found.acceptable, found.error) == (211, refusal is None, refusal)
        assert read_request((await said).value or b"").dry_run


async def test_what_can_have_no_price_is_refused(kafka: KafkaSettings, announcer: Announcer) -> None:
    async with client_of(kafka) as client, asyncio.TaskGroup() as group:
        group.create_task(answer_event(kafka, announcer, GenerationRequest.TYPE, lambda _, own: rejected(own)))
        with pytest.raises(RequestRejected) as refused:
            await client.price(PROMPT, model="missing", timeout_s=15)
        assert refused.value.error.code == Code.RATE_LIMITED


@pytest.mark.parametrize("ask", [Client.cancel, Client.delete])
async def test_an_answer_that_does_not_come_is_waited_for_no_longer(
    kafka: KafkaSettings, announcer: Announcer, ask: Any
) -> None:
    async with client_of(kafka) as client:
        id_ = new_id()
        with pytest.raises(TimedOut) as late:
            await ask(client, id_, timeout_s=0.5)
        assert late.value.request_id == id_


@pytest.mark.parametrize("ask", [Client.cancel, Client.delete])
async def test_what_is_no_id_is_not_published(kafka: KafkaSettings, announcer: Announcer, ask: Any) -> None:
    async with client_of(kafka) as client:
        with pytest.raises(RequestRejected) as refused:
            await ask(client, "7", timeout_s=5)
        assert (refused.value.error.code, refused.value.error.param) == (Code.ID_INVALID, "request_id")
    found = [batch async for batch in read_partition(kafka, announcer.topics.requests, home(kafka))]
    assert found == []


async def test_closing_the_client_ends_the_wait_for_an_answer(kafka: KafkaSettings, announcer: Announcer) -> None:
    async with client_of(kafka) as client:
        asking = asyncio.create_task(client.cancel(new_id(), timeout_s=60))
        await next_request(kafka)
    with pytest.raises(Unreachable, match="closed"):
        await asking


class TestIdempotencyKey:
    async def test_a_known_key_is_the_first_request(self, kafka: KafkaSettings, announcer: Announcer) -> None:
        async with client_of(kafka) as client:
            first = new_id()
            handle = await client.submit(PROMPT, model="easel-tiny", idempotency_key="order-7")
            own = handle.request_id
            envelope = Envelope.read((await next_request(kafka)).headers, b"{}")
            assert envelope.extensions == {"idempotencykey": "order-7"}
            await announcer.say(duplicate(own, "running", of=first))
            await announcer.say(succeeded(first))
            assert await handle.result(timeout_s=10) == succeeded(first)
            assert handle.request_id == first
            assert await told(handle) == [duplicate(own, "running", of=first), succeeded(first)]

    async def test_also_one_that_ended_before(self, kafka: KafkaSettings, announcer: Announcer) -> None:
        first = new_id()
        await announcer.say(accepted(first), succeeded(first))
        async with client_of(kafka) as client:
            handle = await client.submit(PROMPT, model="easel-tiny", idempotency_key="order-7")
            await announcer.say(duplicate(handle.request_id, "succeeded", of=first))
            assert await handle.result(timeout_s=20) == succeeded(first)

    async def test_to_cancel_the_handle_cancels_the_first(self, kafka: KafkaSettings, announcer: Announcer) -> None:
        async with client_of(kafka) as client, asyncio.TaskGroup() as group:
            first = new_id()
            handle = await client.submit(PROMPT, model="easel-tiny", idempotency_key="order-7")
            own = handle.request_id
            group.create_task(answer_event(kafka, announcer, CancelRequest.TYPE, cancel_accepted))
            asking = group.create_task(handle.cancel(timeout_s=15))
            await announcer.say(duplicate(own, "queued", of=first))
            assert (await asking).request_id == first

    async def test_another_body_is_refused(self, kafka: KafkaSettings, announcer: Announcer) -> None:
        async with client_of(kafka) as client:
            handle = await client.submit(PROMPT, model="easel-tiny", idempotency_key="order-7")
            await announcer.say(duplicate(handle.request_id, of=new_id(), conflict=True))
            with pytest.raises(RequestRejected) as refused:
                await handle.result(timeout_s=10)
            assert refused.value.error.code == Code.IDEMPOTENCY_CONFLICT

    @pytest.mark.parametrize("key", ["", "a b", "ключ", "x" * 256, "a\n"])
    async def test_a_key_that_cannot_travel_is_not_published(
        self, kafka: KafkaSettings, announcer: Announcer, key: str
    ) -> None:
        async with client_of(kafka) as client:
            with pytest.raises(RequestRejected) as refused:
                await client.submit(PROMPT, model="easel-tiny", idempotency_key=key)
            assert refused.value.error.param == "ce_idempotencykey"
