"""How long requests took, as the effects of a decision tell it: until their turn, and until their end."""

from __future__ import annotations

from typing import Literal, NamedTuple

from consumer.admission.state import Effects, EndedRequest, OpenRequest, PartitionState

__all__ = ["Span", "spans"]


class Span(NamedTuple):
    """A time that has ended. ``wait``: from acceptance to the first dispatch; ``turnaround``: to the terminal event."""

    what: Literal["wait", "turnaround"]
    tenant: str
    seconds: float


def spans(state: PartitionState, effects: Effects) -> list[Span]:
    """The times that end with ``effects``, which are not yet applied to ``state``."""
    found: list[Span] = []
    for key, after in effects.requests.items():
        before = state.requests.get(key)
        if not isinstance(before, OpenRequest):
            continue
        if isinstance(after, EndedRequest):
            found.append(_since(before, "turnaround", after.ended_ms))
        elif isinstance(after, OpenRequest) and after.dispatched_ms is not None and before.dispatched_ms is None:
            found.append(_since(before, "wait", after.dispatched_ms))
    return found


def _since(request: OpenRequest, what: Literal["wait", "turnaround"], at_ms: int) -> Span:
    # Two brokers' clocks may differ by a little.
    return Span(what, request.key.tenant, max(0, at_ms - request.accepted_ms) / 1000)
