"""Tasks that nobody waits for: what they fail of is heard, once somebody listens."""

from __future__ import annotations

import asyncio

import pytest

from consumer.generation.beside import Beside


async def fails(after_s: float, message: str) -> None:
    await asyncio.sleep(after_s)
    raise ValueError(message)


async def test_the_first_failure_is_raised_also_when_it_was_before_anybody_listened() -> None:
    beside = Beside()
    beside.begin(fails(0.05, "second"))
    beside.begin(fails(0.0, "first"))
    await beside.settled()
    with pytest.raises(ValueError, match="first"):
        await asyncio.wait_for(beside.failure(), 1)


async def test_what_somebody_waits_for_is_his_to_hear() -> None:
    beside = Beside()
    task = beside.follow(fails(0.0, "told"))
    with pytest.raises(ValueError, match="told"):
        await task
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(beside.failure(), 0.1)


async def test_what_is_abandoned_has_not_failed() -> None:
    beside = Beside()
    beside.begin(asyncio.sleep(60))
    await asyncio.sleep(0)
    await beside.abandon()
    await asyncio.wait_for(beside.settled(), 1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(beside.failure(), 0.1)
