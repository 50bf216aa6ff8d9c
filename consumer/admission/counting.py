"""What a committed batch says to metrics and logs."""

from __future__ import annotations

from collections import Counter

from consumer.admission.batch import Batch
from consumer.admission.rules import Rules
from consumer.metrics import Metrics
from transport.logs import logger

__all__ = ["count"]

_LOGGED = frozenset({"rejected", "dead_lettered", "failed"})
_ENDS = frozenset({"succeeded", "failed", "canceled"})
_REMOVED = "removed"
"""The label of tenants that are no longer in tenants.yaml but still have requests."""

_log = logger("admission")


def count(metrics: Metrics, rules: Rules, batch: Batch, seconds: float) -> None:
    """Count a batch once it is committed: what is decided again after a crash is counted once."""
    metrics.observe("easel_admission_transaction_seconds", seconds, partition=rules.partition)
    known = rules.directory.tenants
    counted: Counter[tuple[str, str, str]] = Counter()
    for what, code, key in batch.decisions:
        tenant = "" if key is None else key.tenant if key.tenant in known else _REMOVED
        counted[what, code, tenant] += 1
        if what in _LOGGED:
            name, request_id = key or (None, None)
            _log.info(what, code=code, tenant=name, request_id=request_id, partition=rules.partition)
    # Once for each kind of decision, not for each decision: a batch holds hundreds of the same.
    for (what, code, tenant), times in counted.items():
        _count(metrics, what, code, tenant, times)
    units: Counter[tuple[str, str]] = Counter()
    for moved in batch.moved:
        units[moved.kind, moved.tenant if moved.tenant in known else _REMOVED] += moved.milliunits
    for (kind, tenant), milliunits in units.items():
        metrics.inc(f"easel_units_{kind}_total", milliunits / 1000, tenant=tenant)
    for span in batch.spans:
        tenant = span.tenant if span.tenant in known else _REMOVED
        metrics.observe(f"easel_tenant_{span.what}_seconds", span.seconds, tenant=tenant)


def _count(metrics: Metrics, what: str, code: str, tenant: str, times: int) -> None:
    match what:
        case "dead_lettered":
            metrics.inc("easel_dead_letters_total", times, stage="admission", code=code)
        case "dropped_outcome":
            metrics.inc("easel_admission_dropped_outcomes_total", times, reason=code)
        case "rerouted":
            metrics.inc("easel_admission_rerouted_total", times)
        case _:
            metrics.inc("easel_admission_decisions_total", times, decision=what, code=code)
    if what == "accepted":
        metrics.inc("easel_admission_accepted_total", times, tenant=tenant)
    elif what == "rejected":
        metrics.inc("easel_admission_rejected_total", times, tenant=tenant, code=code)
    elif what in _ENDS:
        metrics.inc("easel_admission_ended_total", times, tenant=tenant, end=what)
