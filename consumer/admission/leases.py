"""A lease on every job that is out: renewed by whoever has it, and when it runs out, the job is sent again.

A living worker names the jobs that it has in its heartbeats: those that wait, those that run, and for a minute those
that have ended, whose report is on its way. A lease runs only while the job's pool has a worker that takes new jobs:
while there is none, nobody could do better. All of this is in memory alone. After a restore, and after each report
about a job, its lease is new.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from consumer.admission.keys import RequestKey

__all__ = ["Leases"]

_NEW = -1


@dataclass(slots=True)
class _Lease:
    heard_ms: int
    """When somebody last had it, as far as was seen; ``_NEW`` until somebody looks."""
    look_ms: int
    """When to look again."""


class Leases:
    """The leases of a partition. Only those are looked at whose time to look has come."""

    def __init__(self) -> None:
        self._leases: dict[RequestKey, _Lease] = {}
        self._looks: list[tuple[int, RequestKey]] = []

    def renew(self, key: RequestKey) -> None:
        """It was sent, or there is word of it: its lease begins when it is looked at next."""
        lease = self._leases.get(key)
        if lease is not None:
            lease.heard_ms = _NEW
            return
        self._leases[key] = _Lease(_NEW, _NEW)
        heapq.heappush(self._looks, (_NEW, key))

    def end(self, key: RequestKey) -> None:
        """It is not out any more."""
        self._leases.pop(key, None)

    def due(self, at_ms: int) -> RequestKey | None:
        """A job that is to be looked at now."""
        while self._looks and self._looks[0][0] <= at_ms:
            look_ms, key = self._looks[0]
            lease = self._leases.get(key)
            if lease is not None and lease.look_ms == look_ms:
                return key
            heapq.heappop(self._looks)
        return None

    def heard(self, key: RequestKey, named_ms: int | None, at_ms: int) -> int:
        """When somebody last had this job; ``named_ms`` is what the fleet says now."""
        lease = self._leases[key]
        if lease.heard_ms == _NEW:
            lease.heard_ms = at_ms
        lease.heard_ms = max(lease.heard_ms, named_ms or 0)
        return lease.heard_ms

    def look_again(self, key: RequestKey, look_ms: int) -> None:
        """Not before then."""
        lease = self._leases[key]
        lease.look_ms = look_ms
        heapq.heapreplace(self._looks, (look_ms, key))
