"""The topics of an installation: their names, keys, counts and settings.

P partitions follow the tenant: everything about a tenant that must be exact lives at one number. J partitions of the
jobs topics are chosen, not hashed. All times are the broker's (LogAppendTime): the one clock that all instances share.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["ADMISSION_INPUTS", "TopicSpec", "Topics"]

ADMISSION_INPUTS = ("requests", "rerouted", "outcomes")
"""What admission reads at each partition number; the names under which the ledger keeps its offsets."""

_MINUTE_MS = 60_000
_DAY_MS = 24 * 60 * _MINUTE_MS
# A dead letter holds a record of up to 1 MiB whole, and base64 makes that a third longer.
_LARGE_MESSAGE_BYTES = 2 * 1024 * 1024
_REQUEST_BATCH_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it must be: its full name, its partition count, its settings as the broker spells them."""

    name: str
    partitions: int
    config: dict[str, str]


@dataclass(frozen=True, slots=True)
class Topics:
    """Full topic names under a prefix."""

    prefix: str = "easel"

    @property
    def requests(self) -> str:
        return f"{self.prefix}.requests"

    @property
    def rerouted(self) -> str:
        return f"{self.prefix}.rerouted"

    @property
    def outcomes(self) -> str:
        return f"{self.prefix}.outcomes"

    @property
    def ledger(self) -> str:
        return f"{self.prefix}.ledger"

    def jobs(self, pool: str) -> str:
        return f"{self.prefix}.jobs.{pool}"

    @property
    def results(self) -> str:
        return f"{self.prefix}.results"

    def results_of(self, tenant: str) -> str:
        """The topic of a tenant that has one of its own."""
        return f"{self.prefix}.results.{tenant}"

    @property
    def usage(self) -> str:
        return f"{self.prefix}.usage"

    @property
    def progress(self) -> str:
        return f"{self.prefix}.progress"

    @property
    def control(self) -> str:
        return f"{self.prefix}.control"

    @property
    def fleet(self) -> str:
        return f"{self.prefix}.fleet"

    @property
    def dead_letters(self) -> str:
        return f"{self.prefix}.dead-letters"

    @property
    def webhooks(self) -> str:
        """What is owed to endpoints: the memory of the webhooks stage."""
        return f"{self.prefix}.webhooks"

    @property
    def redeliveries(self) -> str:
        """Results that an operator wants delivered to an endpoint once more."""
        return f"{self.prefix}.redeliveries"

    @property
    def webhook_inputs(self) -> tuple[str, str]:
        """What the webhooks stage reads at each partition number. Tenants' own topics repeat what is here."""
        return (self.results, self.redeliveries)

    def inputs(self) -> dict[str, str]:
        """Ledger name → topic, of what admission reads."""
        return {name: f"{self.prefix}.{name}" for name in ADMISSION_INPUTS}

    def group(self, role: str) -> str:
        """The consumer group of a role."""
        return f"{self.prefix}.{role}"

    def specs(
        self,
        *,
        partitions: int,
        jobs_partitions: int,
        replication: int,
        pools: Iterable[str],
        own_topics: Iterable[str] = (),
    ) -> list[TopicSpec]:
        """Every topic of an installation. ``own_topics``: tenants whose results also go to a topic of their own."""
        # One replica fewer than there are may be missing: a node can be taken down without stopping the work.
        base = {"message.timestamp.type": "LogAppendTime", "min.insync.replicas": str(max(1, replication - 1))}

        def kept(milliseconds: int) -> dict[str, str]:
            return {**base, "cleanup.policy": "delete", "retention.ms": str(milliseconds)}

        # The cleaner works on closed segments only, and by default waits until half of a log is stale: a ledger would
        # be restored from a week of superseded records.
        ledger = {
            **base,
            "cleanup.policy": "compact",
            "segment.ms": str(10 * _MINUTE_MS),
            "min.cleanable.dirty.ratio": "0.1",
            "delete.retention.ms": str(_DAY_MS),
        }

        def compacted_and_kept(milliseconds: int) -> dict[str, str]:
            return {**kept(milliseconds), "cleanup.policy": "compact,delete", "segment.ms": str(10 * _MINUTE_MS)}

        # Anyone's client writes here, compressed by whatever it knows; what our readers can't unpack would stop a
        # partition. The broker unpacks it instead, and measures it unpacked: a bomb is refused where it arrives.
        from_outside = {"compression.type": "uncompressed", "max.message.bytes": str(_REQUEST_BATCH_BYTES)}

        p = partitions
        specs = [
            TopicSpec(self.requests, p, {**kept(7 * _DAY_MS), **from_outside}),
            TopicSpec(self.rerouted, p, kept(7 * _DAY_MS)),
            TopicSpec(self.outcomes, p, kept(7 * _DAY_MS)),
            TopicSpec(self.ledger, p, ledger),
            TopicSpec(self.results, p, kept(7 * _DAY_MS)),
            TopicSpec(self.webhooks, p, ledger),
            TopicSpec(self.redeliveries, p, kept(7 * _DAY_MS)),
            TopicSpec(self.usage, p, kept(400 * _DAY_MS)),
            TopicSpec(self.progress, p, {**kept(10 * _MINUTE_MS), "segment.ms": str(5 * _MINUTE_MS)}),
            TopicSpec(self.control, p, compacted_and_kept(3 * _DAY_MS)),
            TopicSpec(self.fleet, 1, compacted_and_kept(60 * _MINUTE_MS)),
            TopicSpec(self.dead_letters, p, {**kept(30 * _DAY_MS), "max.message.bytes": str(_LARGE_MESSAGE_BYTES)}),
        ]
        specs += [TopicSpec(self.jobs(pool), jobs_partitions, kept(3 * _DAY_MS)) for pool in sorted(set(pools))]
        specs += [TopicSpec(self.results_of(tenant), 1, kept(7 * _DAY_MS)) for tenant in sorted(set(own_topics))]
        return specs
