"""Ends a Kafka client in bounded time, whatever state it and the broker are in.

aiokafka's own ``stop`` waits for what may never come: buffered batches, a coordinator, a running join. Its tasks loop
without a limit while no broker answers, and one cancellation is swallowed by a parent that waits for its children.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine
from typing import Any

from aiokafka.protocol.group import LeaveGroupRequest

__all__ = ["end_client", "end_consumer", "end_producer", "quiet"]

_ROUNDS = 10
_ROUND_S = 0.1
_CLOSE_S = 1.0
# What the client takes for "is in no group".
_NO_GENERATION = -1


def quiet(future: asyncio.Future[Any]) -> None:
    """Reads the future's error when it comes, so that asyncio does not report one that nobody waited for."""
    future.add_done_callback(_read)


def _read(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()


async def end_producer(producer: Any, *, grace_s: float) -> None:
    """Stops a producer, leaving it ``grace_s`` seconds to deliver what it holds; with 0 that is thrown away."""
    if grace_s > 0:
        await _within(producer.stop(), grace_s)
    producer._closed = True
    accumulator = producer._message_accumulator
    await _reap(producer._sender, accumulator, producer.client)
    await _within(producer.client.close(), _CLOSE_S)
    for batches in accumulator._batches.values():
        for batch in batches:
            for future in (batch.future, batch._drain_waiter):
                quiet(future)


async def end_client(client: Any) -> None:
    """Closes the connections of a client that belongs to no producer or consumer."""
    await _reap(client)
    await _within(client.close(), _CLOSE_S)


async def end_consumer(consumer: Any, *, leave: bool = False) -> None:
    """Stops a consumer. With ``leave`` its group hears of it at once, from a static member and amid a rebalance too."""
    coordinator = consumer._coordinator
    if coordinator is not None:
        # First, so that it neither answers its own leaving by joining again nor is waited for while it joins.
        await _reap(coordinator)
        if leave:
            await _within(_leave_group(consumer), _CLOSE_S)
        coordinator.generation = _NO_GENERATION
        await _reap(coordinator)
    await _within(consumer.stop(), _CLOSE_S)
    consumer._closed = True
    await _reap(*(part for part in (coordinator, consumer._fetcher, consumer._client) if part is not None))
    await _within(consumer._client.close(), _CLOSE_S)


async def _leave_group(consumer: Any) -> None:
    coordinator = consumer._coordinator
    if coordinator.coordinator_id is not None and coordinator.member_id:
        # Not by the coordinator's own connection: the broker reads no request there while it holds back a join.
        request = LeaveGroupRequest(coordinator.group_id, coordinator.member_id)
        await consumer._client.send(coordinator.coordinator_id, request)


async def _within(action: Coroutine[Any, Any, object], seconds: float) -> None:
    # In a task of its own: what it awaits may have been cancelled, and must not cancel us.
    task = asyncio.get_running_loop().create_task(action)
    try:
        await asyncio.wait([task], timeout=seconds)
    finally:
        task.cancel()
        quiet(task)


async def _reap(*owners: object) -> None:
    """Cancels the tasks that run a method of one of ``owners``, and their children, until none is left."""
    for _ in range(_ROUNDS):
        tasks = [task for task in asyncio.all_tasks() if _runs_method_of(task, owners)]
        if not tasks:
            return
        for task in tasks:
            task.cancel()
        done, _ = await asyncio.wait(tasks, timeout=_ROUND_S)
        for task in done:
            _read(task)


def _runs_method_of(task: asyncio.Task[Any], owners: tuple[object, ...]) -> bool:
    coroutine = task.get_coro()
    if not inspect.iscoroutine(coroutine):
        return False
    bound = inspect.getcoroutinelocals(coroutine).get("self")
    return any(bound is owner for owner in owners)
