"""What goes wrong, and when: drawn from a seed, so that the same seed makes the same schedule."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

__all__ = ["KINDS", "Fault", "Kind", "draw"]

Target = Literal["admission", "worker", "engine", "broker", "store", "tenants"]
Action = Literal["kill", "term", "stop", "restart", "refuse", "slow", "lower", "raise", "suspend"]


class Kind(NamedTuple):
    """What is done to what."""

    target: Target
    action: Action


@dataclass(frozen=True, slots=True)
class _Course:
    lasts_s: tuple[float, float]
    words: str


# A stop outlives the session (3 s) always, and the time limit of a transaction (6 s) now and then.
_COURSES: dict[Kind, _Course] = {
    Kind("admission", "kill"): _Course((0.5, 4.0), "SIGKILL"),
    Kind("admission", "term"): _Course((0.5, 2.0), "SIGTERM"),
    Kind("admission", "stop"): _Course((4.0, 9.0), "SIGSTOP"),
    Kind("worker", "kill"): _Course((0.5, 4.0), "SIGKILL"),
    Kind("worker", "term"): _Course((0.5, 2.0), "SIGTERM"),
    Kind("worker", "stop"): _Course((4.0, 9.0), "SIGSTOP"),
    Kind("engine", "kill"): _Course((0.0, 0.0), "SIGKILL to the engine of"),
    Kind("broker", "restart"): _Course((0.0, 2.0), "a clean restart"),
    Kind("broker", "kill"): _Course((0.0, 2.0), "kill -9"),
    Kind("store", "refuse"): _Course((3.0, 8.0), "answers 503"),
    Kind("store", "slow"): _Course((3.0, 8.0), "answers slowly"),
    Kind("store", "kill"): _Course((0.0, 2.0), "kill -9"),
    Kind("tenants", "lower"): _Course((4.0, 10.0), "lower limits of"),
    Kind("tenants", "raise"): _Course((4.0, 10.0), "no limits for"),
    Kind("tenants", "suspend"): _Course((3.0, 8.0), "suspend"),
}
KINDS: tuple[Kind, ...] = tuple(_COURSES)

_FIRST_S = 4.0
_GAP_S = (1.5, 4.5)
_REST_S = 1.0
_GAP_AFTER_BROKER_S = 6.0
_REST_OF_BROKER_S = 20.0
"""A broker takes seconds to come back, and the rest seconds more: what follows at once would only meet closed doors."""
_QUIET_END_S = 3.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong: from ``at_s`` after the start, for ``lasts_s``."""

    at_s: float
    kind: Kind
    victim: int
    """Which admission, worker or tenant, from 0; 0 for the broker and the store."""
    lasts_s: float

    @property
    def ends_s(self) -> float:
        return self.at_s + self.lasts_s

    def __str__(self) -> str:
        target, action = self.kind
        words = _COURSES[self.kind].words
        name = f"worker {self.victim}" if target == "engine" else f"{target} {self.victim}"
        if target in ("broker", "store"):
            return f"{target}: {words}" + (f" for {self.lasts_s:.1f} s" if action in ("refuse", "slow") else "")
        if target == "tenants":
            return f"tenants.yaml: {words} tenant {self.victim} for {self.lasts_s:.1f} s"
        if action == "stop":
            return f"{words} {name} for {self.lasts_s:.1f} s"
        return f"{words} {name}" + (f", back after {self.lasts_s:.1f} s" if target != "engine" else "")


def draw(seed: int, seconds: float, members: int, tenants: int, kinds: Sequence[Kind] = KINDS) -> list[Fault]:
    """The faults of a run of so many seconds, in their order, all healed before its end.

    ``members``: of admission, and as many workers; ``tenants``: whose limits may change. Each kind comes once before
    any comes again; faults overlap, but nothing is hit while it is still down from before.
    """
    chance = random.Random(seed)  # noqa: S311 - it has to be repeatable, not secret
    deck: list[Kind] = []
    free_s: dict[tuple[str, int], float] = {}
    faults: list[Fault] = []
    at_s = _FIRST_S
    while True:
        if not deck:
            deck = list(kinds)
            chance.shuffle(deck)
        kind = deck.pop()
        victims = 1 if kind.target in ("broker", "store") else tenants if kind.target == "tenants" else members
        victim = chance.randrange(victims)
        lasts_s = round(chance.uniform(*_COURSES[kind].lasts_s), 2)
        who = ("worker" if kind.target == "engine" else kind.target, victim)
        at_s = round(max(at_s, free_s.get(who, 0.0)), 2)
        fault = Fault(at_s, kind, victim, lasts_s)
        if fault.ends_s > seconds - _QUIET_END_S:
            return faults
        faults.append(fault)
        free_s[who] = fault.ends_s + (_REST_OF_BROKER_S if kind.target == "broker" else _REST_S)
        at_s += _GAP_AFTER_BROKER_S if kind.target == "broker" else chance.uniform(*_GAP_S)
