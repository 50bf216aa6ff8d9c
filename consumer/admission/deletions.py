"""Deletes that are with the fleet: sent to a worker, and not reported yet.

Bounded: a tenant may have ``MOST_OF_A_TENANT`` of them out, each asked for by up to ``MOST_OF_A_REQUEST`` events.
"""

from __future__ import annotations

import heapq
from collections import Counter
from typing import NamedTuple

import msgspec

from consumer.admission.keys import RequestKey

__all__ = ["MOST_OF_A_REQUEST", "MOST_OF_A_TENANT", "Deletion", "Deletions", "Wanted"]

MOST_OF_A_TENANT = 1_000
MOST_OF_A_REQUEST = 16


class Wanted(NamedTuple):
    """An event that asked for a delete, and where it was read: each is answered."""

    delete_id: str
    number: str
    traceparent: str | None


class Deletion(msgspec.Struct, frozen=True, gc=False):
    """A delete that is out. It goes by the id of the first event that asked for it."""

    wanted: tuple[Wanted, ...]
    attempt: int
    sent_ms: int

    @property
    def delete_id(self) -> str:
        return self.wanted[0].delete_id

    def asked_by(self, delete_id: str) -> bool:
        return any(one.delete_id == delete_id for one in self.wanted)


class Deletions:
    """By the request whose pictures are to go."""

    def __init__(self) -> None:
        self._out: dict[RequestKey, Deletion] = {}
        self._out_of: Counter[str] = Counter()
        self._sent: list[tuple[int, RequestKey]] = []

    def get(self, key: RequestKey) -> Deletion | None:
        return self._out.get(key)

    def of(self, tenant: str) -> int:
        return self._out_of[tenant]

    def content(self) -> dict[RequestKey, Deletion]:
        """All of them."""
        return dict(self._out)

    def put(self, key: RequestKey, deletion: Deletion | None) -> None:
        """Set one, or let go of it."""
        before = self._out.pop(key, None)
        self._out_of[key.tenant] += (deletion is not None) - (before is not None)
        if not self._out_of[key.tenant]:
            del self._out_of[key.tenant]
        if deletion is None:
            return
        self._out[key] = deletion
        if before is None or before.sent_ms != deletion.sent_ms:
            heapq.heappush(self._sent, (deletion.sent_ms, key))

    def sent_before(self, at_ms: int) -> tuple[RequestKey, Deletion] | None:
        """The one that has been out longest, if it was sent at ``at_ms`` or earlier."""
        while self._sent and self._sent[0][0] <= at_ms:
            sent_ms, key = self._sent[0]
            deletion = self._out.get(key)
            if deletion is not None and deletion.sent_ms == sent_ms:
                return key, deletion
            # It was reported, or sent again, since this was noted.
            heapq.heappop(self._sent)
        return None
