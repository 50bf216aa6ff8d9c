"""The faults that real engines have, for the one without a model: a request has them by how its prompt begins."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterable

__all__ = [
    "BLOATING_PROMPT",
    "CRASHING_PROMPT",
    "CROWDED_PROMPT",
    "DEADLY_PROMPT",
    "GREEDY_PROMPT",
    "HANGING_PROMPT",
    "LEAKING_PROMPT",
    "befall",
]

DEADLY_PROMPT = "easel-null: die"
"""Ends the process hard, as the kernel does when memory runs out."""

CRASHING_PROMPT = "easel-null: crash"
"""Reads where no memory is, as a broken library does."""

HANGING_PROMPT = "easel-null: hang"
"""Never comes to the next step, as a driver that waits for its device."""

GREEDY_PROMPT = "easel-null: all memory"
"""Asks for more memory than there is."""

CROWDED_PROMPT = "easel-null: two at most"
"""Takes half of what memory there is: no more than two such pictures fit together."""

LEAKING_PROMPT = "easel-null: leak"
"""Keeps 256 MiB for good."""

BLOATING_PROMPT = "easel-null: bloat"
"""Makes a picture of eight times the sides that were asked for."""

_TWO = 2
_LEAK_BYTES = 256 * 2**20
_MORE_THAN_THERE_IS = 2**62
_leaked: list[bytes] = []


def befall(prompts: Iterable[str]) -> None:
    """Do what the prompts of a batch say, after a step."""
    crowd = 0
    for prompt in prompts:
        if prompt.startswith(DEADLY_PROMPT):
            os.kill(os.getpid(), signal.SIGKILL)
        elif prompt.startswith(CRASHING_PROMPT):
            ctypes.string_at(0)
        elif prompt.startswith(HANGING_PROMPT):
            while True:
                signal.pause()
        elif prompt.startswith(GREEDY_PROMPT):
            _leaked.append(bytes(_MORE_THAN_THERE_IS))
        elif prompt.startswith(CROWDED_PROMPT):
            crowd += 1
            if crowd > _TWO:
                raise MemoryError
        elif prompt.startswith(LEAKING_PROMPT):
            # Not zeros, which the kernel would not give room to.
            _leaked.append(b"\1" * _LEAK_BYTES)
