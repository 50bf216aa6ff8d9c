"""A handle tells each event once and in order, whatever order and however often the topics deliver them."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from producer_api import GenerationCanceled, GenerationFailed, Handle, RequestRejected, TimedOut, Unreachable
from producer_api.wire import RequestEvent
from schemas.errors import Code
from schemas.events import Accepted, CancelAccepted, Event, GenerationStep, Succeeded
from schemas.ids import new_id
from tests.producer_api.support import (
    TENANT,
    accepted,
    canceled,
    duplicate,
    failed,
    rejected,
    started,
    step,
    succeeded,
)

ID = new_id()


async def nobody_cancels(request_id: str, *, timeout_s: float) -> CancelAccepted:
    raise AssertionError("no test here cancels")


def handle_with(*events: RequestEvent) -> Handle:
    handle = Handle(TENANT, ID, nobody_cancels)
    for event in events:
        handle.receive(event)
    return handle


async def told(handle: Handle) -> list[Event]:
    async with asyncio.timeout(2):
        return [event async for event in handle.events()]


async def test_events_come_once_each_and_in_order() -> None:
    events: list[RequestEvent] = [accepted(ID), started(ID), step(ID, 1), step(ID, 2), succeeded(ID)]
    twice = [event for event in events for _ in range(2)]
    assert await told(handle_with(*twice)) == events


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_progress_that_is_read_before_the_decision_waits_for_it(order: tuple[int, ...]) -> None:
    early: list[RequestEvent] = [accepted(ID), started(ID), step(ID, 1)]
    found = await told(handle_with(*(early[place] for place in order), succeeded(ID)))
    assert isinstance(found[0], Accepted)
    assert isinstance(found[-1], Succeeded)
    steps = [(event.attempt, getattr(event, "step", 0)) for event in found[1:-1] if hasattr(event, "attempt")]
    assert steps == sorted(set(steps))
    assert (1, 1) in steps


async def test_progress_only_moves_forward_also_over_attempts() -> None:
    handle = handle_with(
        accepted(ID), started(ID), step(ID, 5), step(ID, 3), started(ID, 2), step(ID, 6), step(ID, 1, 2), succeeded(ID)
    )
    steps = [(event.attempt, event.step) for event in await told(handle) if isinstance(event, GenerationStep)]
    assert steps == [(1, 5), (2, 1)]


async def test_nothing_comes_after_the_end() -> None:
    handle = handle_with(accepted(ID), succeeded(ID), step(ID, 9), failed(ID))
    assert [type(event) for event in await told(handle)] == [Accepted, Succeeded]
    assert (await handle.result()).outputs


async def test_each_reader_gets_everything_at_its_own_pace() -> None:
    handle = handle_with(accepted(ID), started(ID))
    slow = handle.events()
    assert await anext(slow) == accepted(ID)
    fast = asyncio.create_task(told(handle))
    handle.receive(step(ID, 1))
    handle.receive(succeeded(ID))
    everything = [accepted(ID), started(ID), step(ID, 1), succeeded(ID)]
    assert await fast == everything
    assert [event async for event in slow] == everything[1:]


async def test_a_reader_far_behind_misses_the_oldest_steps_alone() -> None:
    handle = handle_with(accepted(ID), started(ID))
    reader = handle.events()
    assert await anext(reader) == accepted(ID)
    for number in range(1, 2001):
        handle.receive(step(ID, number))
    handle.receive(succeeded(ID))
    rest = [event async for event in reader]
    steps = [event.step for event in rest if isinstance(event, GenerationStep)]
    assert steps == list(range(2001 - len(steps), 2001))
    assert 100 < len(steps) < 1000
    assert rest[0] == started(ID)
    assert rest[-1] == succeeded(ID)


async def test_a_refusal_ends_the_events_and_is_raised_by_the_result() -> None:
    handle = handle_with(rejected(ID, retry_after_s=1.5))
    assert await told(handle) == [rejected(ID, retry_after_s=1.5)]
    for wait in (handle.result, handle.decision):
        with pytest.raises(RequestRejected) as refused:
            await wait()
        assert refused.value.error.code == Code.RATE_LIMITED
        assert refused.value.retry_after_s == 1.5
        assert refused.value.request_id == ID


async def test_an_id_that_is_taken_is_a_refusal_and_a_repetition_is_not() -> None:
    with pytest.raises(RequestRejected) as refused:
        await handle_with(duplicate(ID, conflict=True)).result()
    assert refused.value.error.code == Code.ID_CONFLICT
    handle = handle_with(duplicate(ID), succeeded(ID))
    assert (await handle.decision()) == duplicate(ID)
    assert (await handle.result()) == succeeded(ID)


async def test_endings_without_pictures_are_typed_errors() -> None:
    with pytest.raises(GenerationFailed) as failure:
        await handle_with(accepted(ID), failed(ID)).result()
    assert failure.value.error.code == Code.OUT_OF_MEMORY
    assert failure.value.event.refunded_milliunits == 211
    with pytest.raises(GenerationCanceled):
        await handle_with(accepted(ID), canceled(ID)).result()


async def test_a_wait_that_ends_too_early_can_be_taken_up_again() -> None:
    handle = handle_with(accepted(ID))
    with pytest.raises(TimedOut) as late:
        await handle.result(timeout_s=0.01)
    assert late.value.request_id == ID
    assert late.value.error.code == Code.SERVICE_UNAVAILABLE
    handle.receive(succeeded(ID))
    assert await handle.result(timeout_s=0.01) == succeeded(ID)


async def test_what_ends_the_following_reaches_everyone_who_waits() -> None:
    handle = handle_with(accepted(ID))
    waiting = asyncio.create_task(handle.result())
    reading = asyncio.create_task(told(handle))
    await asyncio.sleep(0)
    handle.fail(Unreachable("the test says so"))
    for task in (waiting, reading):
        with pytest.raises(Unreachable):
            await task
