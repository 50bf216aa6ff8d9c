"""Ends a Kafka client in bounded time, whatever state it and the broker are in.

aiokafka's own ``stop`` waits for what may never come: buffered batches, a coordinator, a running join. Its tasks loop
without a limit while no broker answers, and one cancellation is swallowed by a parent that waits for its children.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Awaitable
from typing import Any

__all__ = ["end_consumer", "end_producer", "quiet"]

_ROUNDS = 10
_ROUND_S = 0.1
_CLOSE_S = 1.0


def quiet(future: asyncio.Future[Any]) -> None:
    """Reads the future's error when it comes, so that asyncio does not report one that nobody waited for."""
    future.add_done_callback(_read)


def _read(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()


async def end_producer(producer: Any, *, grace_s: float) -> bool:
    """Stops a producer, leaving it ``grace_s`` seconds to deliver what it holds; 0 throws that away.

    Returns whether everything was delivered.
    """
    delivered = grace_s > 0 and await _within(producer.stop(), grace_s)
    producer._closed = True
    accumulator = producer._message_accumulator
    await _reap(producer._sender, accumulator, producer.client)
    await _within(producer.client.close(), _CLOSE_S)
    for batches in accumulator._batches.values():
        for batch in batches:
            for future in (batch.future, batch._drain_waiter):
                quiet(future)
    ending = producer._txn_manager and producer._txn_manager._transaction_waiter
    if ending is not None:
        quiet(ending)
    return delivered


async def end_consumer(consumer: Any, *, grace_s: float) -> bool:
    """Stops a consumer, leaving it ``grace_s`` seconds to say goodbye to its group. Returns whether it could."""
    stopped = await _within(consumer.stop(), grace_s)
    consumer._closed = True
    await _reap(*(part for part in (consumer._coordinator, consumer._fetcher, consumer._client) if part is not None))
    await _within(consumer._client.close(), _CLOSE_S)
    return stopped


async def _within(action: Awaitable[object], seconds: float) -> bool:
    with contextlib.suppress(Exception):
        async with asyncio.timeout(seconds):
            await action
            return True
    return False


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
