"""When the group is told how far a partition has got. Nothing of ours goes on from there: lag tools look at it.

What counts are the offsets in the ledger, written with every decision. The group's cost a transaction two requests and
a marker more: so they go with one a second, and alone once nothing more comes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from consumer.admission.rules import Rules
from consumer.admission.state import PartitionState
from transport.records import TopicPartition

__all__ = ["GroupOffsets"]

_EVERY_S = 1.0


class GroupOffsets:
    """What the group was told by one owner of a partition."""

    def __init__(self) -> None:
        self._told: Mapping[TopicPartition, int] = {}
        self._told_s = -math.inf

    def due(self, state: PartitionState, rules: Rules, now_s: float) -> Mapping[TopicPartition, int]:
        """What the group is to be told now: the next offset of each input, or nothing."""
        return self.untold(state, rules) if now_s - self._told_s >= _EVERY_S else {}

    def untold(self, state: PartitionState, rules: Rules) -> Mapping[TopicPartition, int]:
        """The next offset of each input where the group does not know all of them."""
        offsets = {
            TopicPartition(topic, rules.partition): state.next_offsets[name] for topic, name in rules.inputs.items()
        }
        return offsets if offsets != self._told else {}

    def told(self, offsets: Mapping[TopicPartition, int], now_s: float) -> None:
        """These were committed."""
        if offsets:
            self._told, self._told_s = offsets, now_s
