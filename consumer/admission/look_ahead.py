"""Of a tenant's own order the next one, or one a little behind it whose model its worker has loaded already.

Loading a model costs seconds of a GPU, so a tenant that mixes models is better served by the warm one first. No other
tenant sees a difference: whose turn it is, and how far a turn counts, stay as they are. Inside the tenant nothing is
passed by more than one batch of work, ever; nor by anything of another priority, nor by what was accepted more than
``2 x AGEING_MS`` after it, which is as far as a higher priority reaches.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from itertools import islice

from consumer.admission.fairness import AGEING_MS
from consumer.admission.state import OpenRequest

__all__ = ["LOOK_AHEAD", "warm_or_first"]

LOOK_AHEAD = 32
"""How many of a tenant's order are looked at: enough to meet each model of a mixed queue, cheap enough to be free."""


def warm_or_first(line: Iterator[OpenRequest], warm: Container[str], batch: int) -> OpenRequest:
    """The first of a tenant's ``line`` whose model is ``warm``, as long as it may pass those before it; else the first.

    ``batch`` is the work of one batch, in milli-units.
    """
    first = last = next(line)
    if first.parameters.model in warm:
        return first
    for request in islice(line, LOOK_AHEAD - 1):
        # Places are counted in accepted work, so all that ever passes the first lies within one batch behind it.
        if (
            request.parameters.priority != first.parameters.priority
            or request.asked <= last.asked
            or request.asked - first.asked > batch
            or request.accepted_ms - first.accepted_ms > 2 * AGEING_MS
        ):
            break
        if request.parameters.model in warm:
            return request
        last = request
    return first
