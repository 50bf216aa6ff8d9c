"""One tenant's slow servers leave places for the others, and who has fewest comes first."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from consumer.webhooks.slots import Slots


class Posting:
    """Attempts that last until ``done``, and how many of each tenant run."""

    def __init__(self, most: int) -> None:
        self.slots = Slots(most)
        self.running: Counter[str] = Counter()
        self.done = asyncio.Event()

    async def attempt(self, tenant: str) -> None:
        async with self.slots.of(tenant):
            self.running[tenant] += 1
            await self.done.wait()
            self.running[tenant] -= 1


async def test_a_quarter_is_left_to_the_others() -> None:
    posting = Posting(8)
    async with asyncio.TaskGroup() as tasks:
        for tenant in ["a"] * 50 + ["b", "c"]:
            tasks.create_task(posting.attempt(tenant))
        await asyncio.sleep(0)
        assert posting.running == {"a": 6, "b": 1, "c": 1}
        posting.done.set()
    assert posting.running.total() == 0


async def test_what_is_given_back_goes_to_who_has_fewest() -> None:
    slots, held = Slots(4), asyncio.Event()
    order: list[str] = []

    async def attempt(tenant: str, last: asyncio.Event) -> None:
        async with slots.of(tenant):
            order.append(tenant)
            await last.wait()

    async with asyncio.TaskGroup() as tasks:
        short = asyncio.Event()
        for tenant, last in (("b", short), ("a", held), ("a", held), ("a", held)):
            tasks.create_task(attempt(tenant, last))
        await asyncio.sleep(0)
        assert order == ["b", "a", "a", "a"]
        for tenant in ("a", "b", "c"):
            tasks.create_task(attempt(tenant, held))
        await asyncio.sleep(0)
        short.set()
        await asyncio.sleep(0.01)
        assert order[4:] == ["b"], "a has three, and c came later than b"
        held.set()
    assert sorted(order[5:]) == ["a", "c"]


@pytest.mark.parametrize("seed", range(20))
async def test_never_more_than_there_are_and_nothing_is_lost(seed: int) -> None:
    draw = random.Random(seed)
    most = draw.randint(1, 9)
    slots, running = Slots(most), Counter[str]()

    async def attempt(tenant: str) -> None:
        async with slots.of(tenant):
            running[tenant] += 1
            assert running.total() <= most and running[tenant] <= max(1, most * 3 // 4)
            try:
                for _ in range(draw.randint(0, 3)):
                    await asyncio.sleep(0)
            finally:
                running[tenant] -= 1

    tasks = [asyncio.create_task(attempt(draw.choice("abc"))) for _ in range(60)]
    for _ in range(20):
        await asyncio.sleep(0)
        draw.choice(tasks).cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(one) for one in found} <= {type(None), asyncio.CancelledError}
    # All places are there again, and nobody is remembered.
    assert (slots._free, slots._waiting, +slots._held) == (most, {}, Counter())
