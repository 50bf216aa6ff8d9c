"""What both loops are asked for: pictures of few and of many steps, at random times, the same in each run."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import quantiles

__all__ = ["LOADS", "MOST", "SHORT", "STEPS", "Arrival", "Outcome", "arrivals", "asked"]

STEPS = (4, 8, 20)
"""Each as likely as the others."""
SHORT = STEPS[0]
LOADS = (0.5, 0.8, 0.95)
"""Shares of what static batches get done when work is never short."""
MOST = 8
"""Pictures in a batch."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A picture that is asked for ``at`` so many seconds."""

    number: int
    steps: int
    at: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """When each of the arrivals had its picture."""

    arrivals: Sequence[Arrival]
    ended: Sequence[float]

    def p95(self, steps: int | None = None) -> float:
        """Seconds that 95 of 100 waited at most; of those with so many steps."""
        waited = [
            end - one.at
            for one, end in zip(self.arrivals, self.ended, strict=True)
            if steps is None or one.steps == steps
        ]
        return quantiles(waited, n=20, method="inclusive")[-1]

    @property
    def per_s(self) -> float:
        """Pictures a second, from the first arrival to the last end."""
        return len(self.ended) / (max(self.ended) - self.arrivals[0].at)


def asked(count: int, seed: int) -> list[int]:
    """The steps of each picture."""
    return random.Random(seed).choices(STEPS, k=count)  # noqa: S311


def arrivals(count: int, per_s: float, seed: int) -> list[Arrival]:
    """A Poisson process: what came before says nothing of when the next one comes."""
    # The times of a seed are those of any rate, stretched.
    dice, at, found = random.Random(seed + 1), 0.0, []  # noqa: S311
    for number, steps in enumerate(asked(count, seed)):
        at += dice.expovariate(1.0) / per_s
        found.append(Arrival(number, steps, at))
    return found
