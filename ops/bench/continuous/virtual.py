"""Both loops in virtual time: what they decide is real, what a call takes was measured. No machine disturbs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from consumer.generation.batching import Batcher, BatchKey
from ops.bench.continuous.arrivals import MOST, Arrival, Outcome

__all__ = ["KEY", "Costs", "capacity", "continuous", "key_of", "static"]

KEY = BatchKey("easel-tiny", 96, 96, 0, 0.0, False, (), "text_to_image", 0)
"""What all have in common."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds by the number of pictures: of a step, and of all that is not a step."""

    step: Mapping[int, float]
    rest: Mapping[int, float]


def key_of(steps: int) -> BatchKey:
    """Of static batches: as many steps."""
    return BatchKey(KEY.model, KEY.width, KEY.height, steps, 3.0, False, (), KEY.kind, 0)


def static(arrived: Sequence[Arrival], costs: Costs) -> Outcome:
    """A batch is made from its beginning to its end."""
    batcher: Batcher[Arrival] = Batcher(lambda _: MOST)
    ended, now, coming = [0.0] * len(arrived), 0.0, list(arrived)
    while coming or len(batcher):
        if not len(batcher):
            now = max(now, coming[0].at)
        while coming and coming[0].at <= now:
            batcher.add(coming[0], key_of(coming[0].steps), range(1))
            del coming[0]
        taken = batcher.next()
        if taken is not None:
            key, pieces = taken
            now += costs.rest[len(pieces)] + key.steps * costs.step[len(pieces)]
            for piece in pieces:
                ended[piece.owner.number] = now
    return Outcome(arrived, ended)


def continuous(arrived: Sequence[Arrival], costs: Costs) -> Outcome:
    """Who has come joins at each step, and who is done leaves.

    All that is not a step is paid by each picture as if it were by itself, when it leaves: more than it takes.
    """
    batcher: Batcher[Arrival] = Batcher(lambda _: MOST)
    ended, now, coming = [0.0] * len(arrived), 0.0, list(arrived)
    running: dict[Arrival, int] = {}
    while coming or len(batcher) or running:
        if not running and not len(batcher):
            now = max(now, coming[0].at)
        while coming and coming[0].at <= now:
            batcher.add(coming[0], KEY, range(1))
            del coming[0]
        running |= {piece.owner: 0 for piece in batcher.more(KEY, MOST - len(running))}
        now += costs.step[len(running)]
        running = {one: steps + 1 for one, steps in running.items()}
        for one in [one for one, steps in running.items() if steps == one.steps]:
            now += costs.rest[1]
            ended[one.number] = now
            del running[one]
    return Outcome(arrived, ended)


def capacity(steps: Sequence[int], costs: Costs) -> float:
    """Pictures a second of static batches, when all are there from the beginning."""
    return static([Arrival(number, count, 0.0) for number, count in enumerate(steps)], costs).per_s
