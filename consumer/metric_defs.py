"""Every metric of the stages: its name, what it means, what to do about it. The documentation comes from this list."""

from __future__ import annotations

from consumer.metric_defs_admission import ADMISSION
from consumer.metric_defs_generation import GENERATION
from consumer.metric_defs_webhooks import WEBHOOKS
from consumer.metric_kinds import Definition, counter

__all__ = ["DEFINITIONS", "Definition"]

_ALL = (
    counter(
        "easel_dead_letters_total",
        "records",
        ("stage", "code"),
        "Records that could not be processed and went to the dead-letter topic.",
        "The dead letter holds the record whole, with its cause and place.",
    ),
    counter(
        "easel_offsets_below_range_total",
        "partitions",
        ("topic",),
        "Partitions whose saved offset the topic no longer holds: records were deleted before they were read.",
        "Raise the topic's retention, and find out why the stage was down for so long.",
    ),
)

DEFINITIONS: tuple[Definition, ...] = (*ADMISSION, *GENERATION, *WEBHOOKS, *_ALL)
"""All of them, in the order in which the documentation lists them."""
