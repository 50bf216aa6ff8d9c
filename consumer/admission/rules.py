"""What a decision is made by, besides the partition's own memory: the files, the counts, the names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from consumer.admission.prompts import PromptGuard
from schemas.catalog import Catalog
from schemas.tenants import Directory
from schemas.topics import Topics

__all__ = ["REPLAYED_REMEMBERED_MS", "Rules"]

_HOUR_MS = 60 * 60 * 1000
REPLAYED_REMEMBERED_MS = 31 * 24 * _HOUR_MS
"""How long the id of a request that came by a replay is known after its end: its dead letter is kept for 30 days, and
may be replayed again until then."""


@dataclass(frozen=True)
class Rules:
    """One version of the rules; a change takes effect between two batches, never inside one."""

    installation: str
    topics: Topics
    partition: int
    partitions: int
    jobs_partitions: int
    window_jobs: int
    """Jobs of this partition that may be with the fleet at a time."""
    catalog: Catalog
    directory: Directory
    remembered_ms: int = 72 * _HOUR_MS
    """How long an ended request's id is known. Longer than a token may live and an id may be away from its time
    together (24 h and 24 h): whoever captured a request can't have it run twice."""
    lease_ms: int = 60_000
    """What is with the fleet and was not heard of for this long, while somebody there lives, is sent again."""
    own_topics: frozenset[str] = frozenset()
    """Tenants whose own results topic exists; until it does, the shared one serves."""

    def input_of(self, topic: str) -> str:
        """The ledger's name for an input topic."""
        return self.inputs[topic]

    @cached_property
    def prompts(self) -> PromptGuard:
        """What prompts may not hold."""
        return PromptGuard(self.directory)

    @cached_property
    def withdrawn(self) -> frozenset[str]:
        """Tenants whose open requests are to be stopped."""
        return frozenset(
            name
            for name, tenant in self.directory.tenants.items()
            if tenant.status == "suspended" and tenant.when_suspended == "cancel"
        )

    @cached_property
    def inputs(self) -> Mapping[str, str]:
        """Topic → the ledger's name for it."""
        return {topic: name for name, topic in self.topics.inputs().items()}
