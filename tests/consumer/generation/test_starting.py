"""A worker whose engine does not come up: what a person has to mend is told apart from what passes."""

from __future__ import annotations

import asyncio

import psutil
import pytest

from consumer.generation.starting import start_engine
from tests.consumer.engine.test_process import CARD, Watched
from transport.errors import Misconfigured, Unavailable


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


async def test_an_engine_that_is_killed_while_it_starts_is_tried_again() -> None:
    watched, before = Watched({"null": CARD}), children()
    starting = asyncio.create_task(start_engine(watched.engine, ["null"], asyncio.Event()))
    async with asyncio.timeout(20):
        while not (new := children() - before):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    psutil.Process(new.pop()).kill()
    with pytest.raises(Unavailable, match="SIGKILL"):
        await starting
    await watched.engine.stop()


async def test_a_model_that_it_does_not_have_is_for_a_person() -> None:
    watched = Watched({"null": CARD})
    with pytest.raises(Misconfigured, match="no model 'other'"):
        await start_engine(watched.engine, ["other"], asyncio.Event())
    await watched.engine.stop()
