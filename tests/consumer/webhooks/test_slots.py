"""One tenant's slow servers leave places for the others."""

from __future__ import annotations

import asyncio
from collections import Counter

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


async def test_a_tenant_has_a_quarter_and_the_others_the_rest() -> None:
    posting = Posting(8)
    async with asyncio.TaskGroup() as tasks:
        for tenant in ["a"] * 50 + ["b", "c", "c", "c"]:
            tasks.create_task(posting.attempt(tenant))
        await asyncio.sleep(0)
        assert posting.running == {"a": 2, "b": 1, "c": 2}
        posting.done.set()
    assert posting.running.total() == 0


async def test_all_together_have_no_more_than_there_is() -> None:
    posting = Posting(8)
    async with asyncio.TaskGroup() as tasks:
        for number in range(40):
            tasks.create_task(posting.attempt(f"tenant-{number % 10}"))
        await asyncio.sleep(0)
        assert posting.running.total() == 8
        posting.done.set()


async def test_who_gives_up_waiting_leaves_nothing_behind() -> None:
    posting = Posting(4)
    first, second = (asyncio.create_task(posting.attempt("a")) for _ in range(2))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    posting.done.set()
    await first
    assert posting.slots._tenants == {}
    await posting.attempt("a")
