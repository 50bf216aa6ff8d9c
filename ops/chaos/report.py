"""What a run comes to: the numbers of its last line, and what is kept when it failed."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ops.chaos.faults import Damage
from ops.chaos.installation import PARTITIONS, TENANTS
from ops.chaos.observer import Observer
from ops.chaos.recovery import others_gap_s, p95, recovery_s
from ops.chaos.run import Chaos
from ops.chaos.verify import Verdict
from transport.partitioning import partition_of

__all__ = ["Numbers", "keep_evidence", "numbers_of", "recoveries"]

_PARTS = ("broker", "store")
BUSY = frozenset(partition_of(tenant.id.encode(), PARTITIONS) for tenant in TENANTS)


@dataclass(frozen=True, slots=True)
class Numbers:
    """The last line of ``easel chaos``."""

    sent: int
    accepted: int
    rejected: int
    duplicates: int
    dead_lettered: int
    cancels: int
    terminal: int
    missing: int
    doubled: int
    units_off: int
    outputs_bad: int
    kills: int
    stops: int
    broker_restarts: int
    recovery_p95_s: float
    others_gap_s: float
    seconds: float


def recoveries(damages: Sequence[Damage], observer: Observer) -> dict[int, float | None]:
    """How long each fault, by its place, kept those waiting whom it hit."""
    return {
        number: recovery_s(damage, observer.commits, observer.reports, BUSY)
        for number, damage in enumerate(damages)
        if damage.fault.kind.target in ("admission", "worker", "broker")
    }


def numbers_of(chaos: Chaos, verdict: Verdict, observer: Observer, seconds: float) -> Numbers:
    """The run in numbers."""
    done = Counter(damage.fault.kind for damage in chaos.damages)
    found = recoveries(chaos.damages, observer)
    counts = verdict.counts
    return Numbers(
        sent=verdict.sent,
        accepted=counts["accepted"],
        rejected=counts["rejected"],
        duplicates=counts["duplicates"],
        dead_lettered=counts["dead_lettered"],
        cancels=verdict.cancels,
        terminal=counts["terminal"],
        missing=verdict.wrong("missing"),
        doubled=verdict.wrong("doubled"),
        units_off=verdict.wrong("units"),
        outputs_bad=verdict.wrong("output"),
        kills=sum(n for kind, n in done.items() if kind.action in ("kill", "term") and kind.target not in _PARTS),
        stops=sum(n for kind, n in done.items() if kind.action == "stop"),
        broker_restarts=sum(n for kind, n in done.items() if kind.target == "broker"),
        recovery_p95_s=round(p95([one for one in found.values() if one is not None]), 1),
        others_gap_s=round(others_gap_s(chaos.damages, observer.hidden, found), 1),
        seconds=round(seconds, 1),
    )


def keep_evidence(chaos: Chaos, verdict: Verdict | None) -> None:
    """Write what the topics say beside the journal and the logs; the broker's and the store's own files go."""
    shutil.rmtree(chaos.folder / "stack" / "kafka", ignore_errors=True)
    shutil.rmtree(chaos.folder / "stack" / "store", ignore_errors=True)
    faults = [
        {**asdict(one), "fault": str(one.fault), "partitions": sorted(one.partitions), "jobs": len(one.jobs)}
        for one in chaos.damages
    ]
    _write(chaos.folder / "faults.jsonl", iter(faults))
    if verdict is None:
        return
    _write(chaos.folder / "violations.jsonl", (asdict(one) for one in verdict.violations))
    facts = verdict.facts
    for name in ("results", "usage", "jobs", "outcomes", "control"):
        _write(chaos.folder / f"{name}.jsonl", (asdict(one) for one in getattr(facts, name)))
    _write(chaos.folder / "dead-letters.jsonl", (one.model_dump(mode="json") for one in facts.dead_letters))
    requests = ({"request": "/".join(key), **value} for key, value in facts.ledger.requests.items())
    _write(chaos.folder / "ledger.jsonl", requests)


def _write(path: Path, lines: Iterator[Mapping[str, object]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps(line, default=str) + "\n")
