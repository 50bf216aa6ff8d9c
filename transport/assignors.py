"""How a group shares out partitions."""

from __future__ import annotations

from typing import Any, Literal

from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

__all__ = ["Assignor", "assignor_of_one_member", "note_generation"]

Assignor = Literal["range", "sticky"]


def assignor_of_one_member(name: Assignor) -> Any:
    """The client's class for ``name``: ``range`` keeps the numbers of all topics together, ``sticky`` moves few."""
    if name == "range":
        return RangePartitionAssignor
    # It keeps a member's assignment in class attributes: two members of one process need two classes.
    return type("StickyAssignorOfOneMember", (StickyPartitionAssignor,), {})


def note_generation(assignor: Any, generation: int) -> None:
    """Tells a sticky assignor in which generation it got its partitions.

    aiokafka never does, so that the claims of a member that was away look as fresh as those of the one that took over.
    """
    if issubclass(assignor, StickyPartitionAssignor):
        assignor.on_generation_assignment(generation)
