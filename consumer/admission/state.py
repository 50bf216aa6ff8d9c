"""What a partition remembers: accounts, requests, and how far it has read.

All of it is in the ledger; the queue and the counts are derived. ``apply`` is the only way in which it changes, and
takes the effects of a decision whole.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from consumer.admission.quota import Account
from schemas.requests import Parameters
from transport.records import Outgoing

__all__ = ["Decision", "Effects", "EndedRequest", "Movement", "OpenRequest", "PartitionState", "RequestKey"]

OpenState = Literal["queued", "dispatched", "running"]
EndState = Literal["succeeded", "failed", "canceled"]


class RequestKey(NamedTuple):
    """Who asked, and under which id: ids of different tenants never meet."""

    tenant: str
    request_id: str


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """An accepted request that has not ended. Everything needed to send it again is here."""

    key: RequestKey
    state: OpenState
    body_sha256: str
    sequence: int
    """Its place in the order of acceptance of this partition."""
    accepted_ms: int
    cost: int
    day: str
    month: str
    pool: str
    parameters: Parameters
    metadata: Mapping[str, str]
    traceparent: str | None = None
    attempt: int = 0
    starts: int = 0
    """Starts that were reported and neither ended nor were released."""
    dispatched_ms: int | None = None


@dataclass(frozen=True, slots=True)
class EndedRequest:
    """A request that has ended: remembered longer than any token that could bring it again lives."""

    key: RequestKey
    state: EndState
    body_sha256: str
    ended_ms: int
    forget_ms: int


class Decision(NamedTuple):
    """What was decided, for counters and logs."""

    what: str
    code: str
    key: RequestKey | None


class Movement(NamedTuple):
    """Units that were held, settled or refunded."""

    kind: Literal["held", "settled", "refunded"]
    tenant: str
    milliunits: int


@dataclass(slots=True)
class Effects:
    """All that a decision changes and says. Nothing has happened until it is applied and committed."""

    messages: list[Outgoing] = field(default_factory=list)
    accounts: dict[str, Account] = field(default_factory=dict)
    requests: dict[RequestKey, OpenRequest | EndedRequest | None] = field(default_factory=dict)
    """The new content; None forgets."""
    decisions: list[Decision] = field(default_factory=list)
    moved: list[Movement] = field(default_factory=list)
    blamed: str | None = None
    """The tenant whose record raised an exception inside the decision; ``""`` when none is known."""


class PartitionState:
    """The memory of one partition."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.requests: dict[RequestKey, OpenRequest | EndedRequest] = {}
        self.next_offsets: dict[str, int] = {}
        """Input name → the offset to read next."""
        self.sequence = 0
        self.clock_ms = 0
        self.tenants_version = 0
        self._waiting: dict[RequestKey, None] = {}
        self._in_flight: set[RequestKey] = set()
        self._waiting_of: Counter[str] = Counter()
        self._forget: list[tuple[int, RequestKey]] = []

    def account(self, tenant: str) -> Account:
        return self.accounts.get(tenant) or Account(tenant)

    def waiting(self) -> Iterator[OpenRequest]:
        """Queued requests in the order in which they were accepted."""
        for key in self._waiting:
            request = self.requests[key]
            if isinstance(request, OpenRequest):
                yield request

    def waiting_of(self, tenant: str) -> int:
        return self._waiting_of[tenant]

    @property
    def queued(self) -> int:
        return len(self._waiting)

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    def due_to_forget(self, at_ms: int, most: int) -> list[RequestKey]:
        """Up to ``most`` ended requests that no token can bring again."""
        due: list[RequestKey] = []
        while self._forget and self._forget[0][0] <= at_ms and len(due) < most:
            due.append(heapq.heappop(self._forget)[1])
        return due

    def apply(self, effects: Effects) -> None:
        """Take over what a decision changed."""
        self.accounts.update(effects.accounts)
        for key, request in effects.requests.items():
            self.put(key, request)

    def put(self, key: RequestKey, request: OpenRequest | EndedRequest | None) -> None:
        """Set or forget one request, and what is derived from it."""
        if key in self._waiting:
            del self._waiting[key]
            self._waiting_of[key.tenant] -= 1
        self._in_flight.discard(key)
        if request is None:
            self.requests.pop(key, None)
            return
        self.requests[key] = request
        if isinstance(request, EndedRequest):
            heapq.heappush(self._forget, (request.forget_ms, key))
            return
        self.sequence = max(self.sequence, request.sequence)
        if request.state == "queued":
            self._waiting[key] = None
            self._waiting_of[key.tenant] += 1
        else:
            self._in_flight.add(key)

    def sort_waiting(self) -> None:
        """Bring the queue into the order of acceptance: a compacted ledger is read in another one."""
        ordered = sorted(self.waiting(), key=lambda request: request.sequence)
        self._waiting = dict.fromkeys(request.key for request in ordered)
