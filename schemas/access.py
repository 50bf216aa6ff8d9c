"""What each role of an installation may do on the cluster, and no more: its Kafka ACLs, as data.

The topics decide who is trusted with what: only admission may write jobs, results, usage and the ledger, so only
admission can spend a tenant's units or say how a request ended. `docs/security.md` shows the same as a table.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from schemas.topics import Topics

__all__ = ["ROLES", "TENANT_ROLES", "Grant", "Operation", "Resource", "Role", "TenantRole", "grants", "tenant_grants"]

Role = Literal["admission", "worker", "webhooks", "api", "billing", "operator", "publisher"]
"""Those of the whole installation."""
TenantRole = Literal["subscriber"]
"""Those of one tenant each."""
ROLES: tuple[Role, ...] = get_args(Role)
TENANT_ROLES: tuple[TenantRole, ...] = get_args(TenantRole)

Resource = Literal["topic", "group", "transactional-id"]
Operation = Literal["Read", "Write", "Create", "Delete", "Alter", "Describe", "DescribeConfigs", "AlterConfigs"]
"""As Kafka spells them. Read and Write each imply Describe."""


@dataclass(frozen=True, slots=True, order=True)
class Grant:
    """One thing that a user may do. ``prefixed``: with all resources whose name begins with ``name``."""

    resource: Resource
    name: str
    operation: Operation
    prefixed: bool = False


def grants(role: Role, topics: Topics) -> list[Grant]:
    """What a role needs, whatever topics of pools and tenants there are."""
    return sorted(_GRANTS[role](topics))


def tenant_grants(role: TenantRole, topics: Topics, tenant: str) -> list[Grant]:
    """What a role of one tenant needs. A subscriber reads the tenant's own topic (``own_topic``) and nothing else.

    Its groups are ``<prefix>.subscriber.<tenant>``, and those that begin with it and a dot.
    """
    group = topics.group(f"{role}.{tenant}")
    return sorted(
        {
            Grant("topic", topics.results_of(tenant), "Read"),
            Grant("group", group, "Read"),
            Grant("group", f"{group}.", "Read", prefixed=True),
        }
    )


def _admission(topics: Topics) -> set[Grant]:
    reads = {*topics.inputs().values(), topics.ledger, topics.fleet}
    writes = {
        topics.rerouted,
        # An outcome that came to another partition than its tenant's is sent on.
        topics.outcomes,
        topics.ledger,
        topics.results,
        topics.usage,
        topics.control,
        topics.fleet,
        topics.dead_letters,
    }
    spread = {topics.jobs(""), topics.results_of("")}
    return {
        *_topics(reads, "Read"),
        *_topics(writes, "Write"),
        *_topics(spread, "Write", prefixed=True),
        # It compares every topic with what it must be before it serves.
        Grant("topic", f"{topics.prefix}.", "DescribeConfigs", prefixed=True),
        Grant("topic", f"{topics.prefix}.", "Describe", prefixed=True),
        Grant("group", topics.group("admission"), "Read"),
        *_transactions(f"{topics.prefix}-admission-", prefixed=True),
    }


def _worker(topics: Topics) -> set[Grant]:
    jobs = topics.jobs("")
    used = {topics.outcomes, topics.progress, topics.control, topics.fleet, topics.dead_letters}
    return {
        *_topics({jobs}, "Read", prefixed=True),
        *_topics({topics.control, topics.fleet}, "Read"),
        *_topics({topics.outcomes, topics.progress, topics.fleet, topics.dead_letters}, "Write"),
        *_topics(used, "DescribeConfigs"),
        *_topics({jobs}, "DescribeConfigs", prefixed=True),
        Grant("group", topics.group("generation."), "Read", prefixed=True),
    }


def _webhooks(topics: Topics) -> set[Grant]:
    used = {*topics.webhook_inputs, topics.webhooks, topics.dead_letters}
    return {
        *_topics({*topics.webhook_inputs, topics.webhooks}, "Read"),
        *_topics({topics.webhooks, topics.dead_letters}, "Write"),
        *_topics(used, "DescribeConfigs"),
        Grant("group", topics.group("webhooks"), "Read"),
        *_transactions(f"{topics.prefix}-webhooks-", prefixed=True),
    }


def _api(topics: Topics) -> set[Grant]:
    return {*_topics({topics.requests}, "Write"), *_topics({topics.results, topics.progress, topics.fleet}, "Read")}


def _publisher(topics: Topics) -> set[Grant]:
    return set(_topics({topics.requests}, "Write"))


def _billing(topics: Topics) -> set[Grant]:
    return {*_topics({topics.usage}, "Read"), Grant("group", topics.group("billing"), "Read")}


def _operator(topics: Topics) -> set[Grant]:
    everything = f"{topics.prefix}."
    topic: tuple[Operation, ...] = ("Read", "Describe", "DescribeConfigs", "Create", "Alter", "AlterConfigs")
    group: tuple[Operation, ...] = ("Read", "Describe", "Delete")
    # A ledger that was lost is made again with what it owes to the others; letters are replayed by `rerouted`
    # and `redeliveries`.
    writes = {
        topics.requests,
        topics.rerouted,
        topics.redeliveries,
        topics.ledger,
        topics.results,
        topics.usage,
        topics.control,
        topics.dead_letters,
    }
    return {
        *(Grant("topic", everything, operation, prefixed=True) for operation in topic),
        *_topics(writes, "Write"),
        *_topics({topics.results_of("")}, "Write", prefixed=True),
        *(Grant("group", everything, operation, prefixed=True) for operation in group),
        *_transactions(f"{topics.prefix}-admission-", prefixed=True),
        *_transactions(f"{topics.prefix}-dead-letters-replay"),
    }


def _topics(names: Iterable[str], operation: Operation, *, prefixed: bool = False) -> Iterable[Grant]:
    return (Grant("topic", name, operation, prefixed) for name in names)


def _transactions(name: str, *, prefixed: bool = False) -> set[Grant]:
    return {Grant("transactional-id", name, operation, prefixed) for operation in ("Write", "Describe")}


_GRANTS = {
    "admission": _admission,
    "worker": _worker,
    "webhooks": _webhooks,
    "api": _api,
    "billing": _billing,
    "operator": _operator,
    "publisher": _publisher,
}
