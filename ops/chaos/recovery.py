"""How long each fault kept those waiting whom it hit, and how long others had to wait with them. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from math import ceil

from ops.chaos.faults import Damage
from ops.chaos.observer import Hidden, Report

__all__ = ["others_gap_s", "p95", "recovery_s"]

_SETTLING_MS = 50
"""What a killed process had handed to the system before may still be appended for so long."""


def recovery_s(
    damage: Damage, commits: Mapping[int, Sequence[int]], reports: Iterable[Report], busy: frozenset[int]
) -> float | None:
    """From the fault to the first sign of life of the last thing that it hit; None when it hit nothing that can tell.

    Of a partition of admission that is the first commit (``commits``: their times, in order); of a worker's jobs, the
    first report on any of them. A broker hits every partition that is ``busy``: those to which requests come.
    """
    if damage.fault.kind.target == "worker":
        after = [one.at_ms for one in reports if one.job in damage.jobs and one.at_ms > damage.gone_ms + _SETTLING_MS]
        return (min(after) - damage.began_ms) / 1000 if after else None
    hit = busy if damage.fault.kind.target == "broker" else damage.partitions & busy
    firsts = [_first_after(commits[partition], damage.gone_ms + _SETTLING_MS) for partition in hit]
    found = [first - damage.began_ms for first in firsts if first is not None]
    return max(found) / 1000 if found else None


def others_gap_s(damages: Sequence[Damage], hidden: Iterable[Hidden], recovered_s: Mapping[int, float | None]) -> float:
    """The longest that a record of an unharmed partition lay hidden behind a harmed one's open transaction.

    Looked at from each kill and stop of admission until its partitions were served again (``recovered_s``, by the
    fault's place in ``damages``), but for the times without a broker, when nobody sees anything.
    """
    away = [
        (one.began_ms, (one.healed_ms or one.began_ms) + int(1000 * (recovered_s.get(number) or 0)))
        for number, one in enumerate(damages)
        if one.fault.kind.target == "broker"
    ]
    longest_ms = 0
    records = list(hidden)
    for number, damage in enumerate(damages):
        if damage.fault.kind.target != "admission" or damage.fault.kind.action == "term":
            continue
        until_ms = damage.began_ms + int(1000 * (recovered_s.get(number) or 0))
        for record in records:
            seen_ms = record.appended_ms + record.for_ms
            if (
                record.writer not in damage.partitions
                and damage.began_ms <= record.appended_ms <= until_ms
                and not any(record.appended_ms <= up and seen_ms >= down for down, up in away)
            ):
                longest_ms = max(longest_ms, record.for_ms)
    return longest_ms / 1000


def p95(values: Sequence[float]) -> float:
    """By nearest rank; 0 of none."""
    return sorted(values)[ceil(0.95 * len(values)) - 1] if values else 0.0


def _first_after(times: Sequence[int], after_ms: int) -> int | None:
    at = bisect_right(times, after_ms)
    return times[at] if at < len(times) else None
