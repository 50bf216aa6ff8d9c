"""A tenant that is suspended with ``when_suspended: cancel``: what it has open is stopped, some of it in each batch."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from consumer.admission.rules import Rules
from consumer.admission.state import OpenRequest, PartitionState

__all__ = ["withdrawn"]

_AT_ONCE = 300
"""Each end takes four records or so: together they stay far below what one transaction may hold."""


def withdrawn(state: PartitionState, rules: Rules) -> list[OpenRequest]:
    """The next of them that are to be stopped, as by a cancel."""
    return list(islice(_open(state, rules), _AT_ONCE))


def _open(state: PartitionState, rules: Rules) -> Iterator[OpenRequest]:
    for tenant in sorted(rules.withdrawn):
        for request in state.open_of(tenant):
            if not request.cancel_requested:
                yield request
