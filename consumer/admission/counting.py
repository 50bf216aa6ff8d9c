"""What a committed batch says to metrics and logs."""

from __future__ import annotations

from consumer.admission.batch import Batch
from consumer.admission.rules import Rules
from consumer.admission.state import PartitionState
from consumer.logs import logger
from consumer.metrics import Metrics

__all__ = ["count"]

_LOGGED = frozenset({"rejected", "dead_lettered", "failed"})

_log = logger("admission")


def count(metrics: Metrics, rules: Rules, batch: Batch, state: PartitionState, seconds: float) -> None:
    """Count a batch once it is committed: what is decided again after a crash is counted once."""
    metrics.inc("easel_admission_transactions_total")
    metrics.observe("easel_admission_transaction_seconds", seconds)
    metrics.set("easel_admission_queued", state.queued, partition=rules.partition)
    metrics.set("easel_admission_in_flight", state.in_flight, partition=rules.partition)
    for what, code, key in batch.decisions:
        match what:
            case "dead_lettered":
                metrics.inc("easel_dead_letters_total", stage="admission", code=code)
            case "dropped_outcome":
                metrics.inc("easel_admission_dropped_outcomes_total", reason=code)
            case "rerouted":
                metrics.inc("easel_admission_rerouted_total")
            case _:
                metrics.inc("easel_admission_decisions_total", decision=what, code=code)
        if what == "accepted" and key is not None:
            metrics.inc("easel_admission_accepted_total", tenant=key.tenant)
        if what in _LOGGED:
            tenant, request_id = key or (None, None)
            _log.info(what, code=code, tenant=tenant, request_id=request_id, partition=rules.partition)
    for kind, tenant, milliunits in batch.moved:
        metrics.inc(f"easel_units_{kind}_total", milliunits / 1000, tenant=tenant)
