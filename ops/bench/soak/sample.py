"""What a soak sees of the installation, interval by interval."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Sample"]


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen in an interval that ended ``at_s`` after the beginning. Memory in MiB."""

    at_s: float
    p50_ms: float
    p99_ms: float
    admission_mib: float
    worker_mib: float
    kafka_mib: float
    ledger_records: int
    ledger_mib: float
