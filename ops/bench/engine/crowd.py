"""A closed loop of clients: each asks for its next picture when it has the last one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import quantiles

__all__ = ["Crowd", "crowd"]


@dataclass(frozen=True, slots=True)
class Crowd:
    """What so many ``clients`` saw. ``latencies_ms``: of each request, from its sending until its end was known."""

    clients: int
    seconds: float
    latencies_ms: Sequence[float]

    @property
    def per_s(self) -> float:
        return len(self.latencies_ms) / self.seconds

    def percentile(self, percent: int) -> float:
        """In ms."""
        return percentile(self.latencies_ms, percent)


def percentile(values: Sequence[float], percent: int) -> float:
    """That of at least two values."""
    return quantiles(values, n=100, method="inclusive")[percent - 1]


async def crowd(clients: int, requests: int, ask: Callable[[int], Awaitable[None]]) -> Crowd:
    """Have ``requests`` made by so many clients; ``ask(client)`` makes one. The clock runs until the last has ended.

    What the first client that fails raises is raised, once the others have been stopped.
    """
    left = iter(range(requests))
    latencies: list[float] = []

    async def client(number: int) -> None:
        for _ in left:
            began = time.perf_counter()
            await ask(number)
            latencies.append((time.perf_counter() - began) * 1000)

    began = time.perf_counter()
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(clients):
                group.create_task(client(number))
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return Crowd(clients, time.perf_counter() - began, latencies)
