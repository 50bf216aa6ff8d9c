"""What a partition remembers: accounts, requests, and how far it has read.

All of it is in the ledger; the queue and the counts are derived. ``apply`` is the only way in which it changes, and
takes the effects of a decision whole.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from consumer.admission.deletions import Deletion, Deletions
from consumer.admission.early_cancels import EarlyCancels
from consumer.admission.fairness import Turns, rank_of
from consumer.admission.in_flight import InFlight
from consumer.admission.keys import RequestKey
from consumer.admission.known_by import KnownBy
from consumer.admission.leases import Leases
from consumer.admission.quota import Account
from consumer.admission.requests import EndedRequest, EndState, OpenRequest, Start
from transport.records import Outgoing

__all__ = [
    "Blamed",
    "Decision",
    "Effects",
    "EndState",
    "EndedRequest",
    "Movement",
    "OpenRequest",
    "PartitionState",
    "RequestKey",
    "Start",
]


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


class Blamed(NamedTuple):
    """Whose record raised an exception (``""`` when that is not known), and where in the program."""

    tenant: str
    where: str


@dataclass(slots=True)
class Effects:
    """All that a decision changes and says. Nothing has happened until it is applied and committed."""

    messages: list[Outgoing] = field(default_factory=list)
    accounts: dict[str, Account] = field(default_factory=dict)
    requests: dict[RequestKey, OpenRequest | EndedRequest | None] = field(default_factory=dict)
    """The new content; None forgets."""
    early_cancels: dict[RequestKey, int | None] = field(default_factory=dict)
    """Until when a cancel of a request that has not arrived is remembered; None forgets."""
    deletions: dict[RequestKey, Deletion | None] = field(default_factory=dict)
    """Deletes that are out; None: it was reported."""
    decisions: list[Decision] = field(default_factory=list)
    moved: list[Movement] = field(default_factory=list)
    served: tuple[str, int] | None = None
    """A pool, and the tag of the tenant that was served there: the pool's own time afterwards."""
    blamed: Blamed | None = None
    """Set when an exception was raised inside the decision."""

    def add(self, later: Effects) -> None:
        """Take in what follows from a second decision, made on what this one leaves."""
        self.messages += later.messages
        self.accounts |= later.accounts
        self.requests |= later.requests
        self.early_cancels |= later.early_cancels
        self.deletions |= later.deletions
        self.decisions += later.decisions
        self.moved += later.moved
        self.served = later.served or self.served


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
        self.times: dict[str, int] = {}
        """Pool → its own time: the tag of whoever was served last."""
        self.in_flight = InFlight()
        self.waiting_work: Counter[str] = Counter()
        """Pool → the work of what is queued, in milli-units: in line, or waiting for another attempt."""
        self.early_cancels = EarlyCancels()
        self.deletions = Deletions()
        self.leases = Leases()
        self._idempotency_keys = KnownBy()
        self._results = KnownBy()
        self._open_of: dict[str, dict[RequestKey, None]] = {}
        self.turns: Turns[RequestKey] = Turns()
        """What waits for its turn."""
        self._forget: list[tuple[int, RequestKey]] = []
        self._retries: list[tuple[int, RequestKey]] = []
        self._deadlines: list[tuple[int, RequestKey]] = []

    def account(self, tenant: str) -> Account:
        return self.accounts.get(tenant) or Account(tenant)

    def under_idempotency_key(self, tenant: str, idempotency_key: str) -> OpenRequest | EndedRequest | None:
        """The request that came under this key of a tenant, as long as it is remembered itself."""
        key = self._idempotency_keys.get(tenant, idempotency_key)
        return self.requests.get(key) if key else None

    def made(self, tenant: str, digest: str) -> EndedRequest | None:
        """The request of a tenant whose result has this digest."""
        key = self._results.get(tenant, digest)
        request = self.requests.get(key) if key else None
        return request if isinstance(request, EndedRequest) else None

    def next_turn(self, pool: str, may_send: Callable[[str], bool]) -> str | None:
        """The tenant whose turn it is in a pool, among those that ``may_send``."""
        return self.turns.next(pool, lambda tenant: self.account(tenant).turns.get(pool, 0), may_send)

    def line(self, pool: str, tenant: str) -> Iterator[OpenRequest]:
        """What a tenant has in line for a pool, in its order."""
        for key in self.turns.line(pool, tenant):
            request = self.requests[key]
            if isinstance(request, OpenRequest):
                yield request

    def active(self) -> set[tuple[str, str]]:
        """Each pool and tenant with something in line or in flight."""
        return self.turns.lines() | self.in_flight.tenants.keys()

    def open_of(self, tenant: str) -> Iterator[OpenRequest]:
        """What a tenant has open, in no order that counts."""
        for key in self._open_of.get(tenant, ()):
            request = self.requests[key]
            if isinstance(request, OpenRequest):
                yield request

    def waiting_of(self, tenant: str) -> int:
        return self.turns.of(tenant)

    @property
    def queued(self) -> int:
        """How many wait for their turn; those that wait for another attempt are not among them."""
        return len(self.turns)

    def due_to_forget(self, at_ms: int, most: int) -> list[RequestKey]:
        """Up to ``most`` ended requests that no token can bring again."""
        due: list[RequestKey] = []
        while self._forget and self._forget[0][0] <= at_ms and len(due) < most:
            due.append(heapq.heappop(self._forget)[1])
        return due

    def due_to_retry(self, at_ms: int) -> OpenRequest | None:
        """A failed attempt's request whose time has come."""
        return self._due(self._retries, at_ms, lambda request: request.retry_at_ms)

    def overdue(self, at_ms: int) -> OpenRequest | None:
        """A queued request whose deadline has passed."""
        return self._due(self._deadlines, at_ms, lambda request: request.deadline_ms)

    def _due(
        self, times: list[tuple[int, RequestKey]], at_ms: int, time_of: Callable[[OpenRequest], int | None]
    ) -> OpenRequest | None:
        while times and times[0][0] <= at_ms:
            when, key = times[0]
            request = self.requests.get(key)
            if isinstance(request, OpenRequest) and request.state == "queued" and time_of(request) == when:
                return request
            # It has moved on since it was noted.
            heapq.heappop(times)
        return None

    def apply(self, effects: Effects) -> None:
        """Take over what a decision changed."""
        self.accounts.update(effects.accounts)
        if effects.served is not None:
            pool, tag = effects.served
            self.times[pool] = max(self.times.get(pool, 0), tag)
        for key, request in effects.requests.items():
            self.put(key, request)
        for key, until_ms in effects.early_cancels.items():
            self.early_cancels.put(key, until_ms)
        for key, deletion in effects.deletions.items():
            self.deletions.put(key, deletion)

    def put(self, key: RequestKey, request: OpenRequest | EndedRequest | None) -> None:
        """Set or forget one request, and what is derived from it."""
        before = self.requests.get(key)
        self.turns.remove(key)
        if isinstance(before, OpenRequest) and before.state == "queued":
            self.waiting_work[before.pool] -= before.work
        if self.in_flight.remove(key):
            self.turns.allow(key.tenant)
            if not isinstance(request, OpenRequest) or request.state == "queued":
                self.leases.end(key)
        if isinstance(request, OpenRequest):
            self._open_of.setdefault(key.tenant, {})[key] = None
        elif isinstance(before, OpenRequest):
            del self._open_of[key.tenant][key]
        self._idempotency_keys.change(key, _key_of(before), _key_of(request))
        self._results.change(key, _digest_of(before), _digest_of(request))
        if request is None:
            self.requests.pop(key, None)
            return
        self.requests[key] = request
        if isinstance(request, EndedRequest):
            if not isinstance(before, EndedRequest):
                heapq.heappush(self._forget, (request.forget_ms, key))
            return
        self.sequence = max(self.sequence, request.sequence)
        if request.state == "queued" and request.deadline_ms is not None:
            heapq.heappush(self._deadlines, (request.deadline_ms, key))
        if request.state != "queued":
            self.in_flight.add(request)
            self.leases.renew(key)
            return
        self.waiting_work[request.pool] += request.work
        if request.retry_at_ms is not None:
            heapq.heappush(self._retries, (request.retry_at_ms, key))
        else:
            rank = rank_of(request.parameters.priority, request.accepted_ms)
            self.turns.add(key, request.pool, key.tenant, rank, request.sequence)


def _key_of(request: OpenRequest | EndedRequest | None) -> str | None:
    return request.idempotency_key if request else None


def _digest_of(request: OpenRequest | EndedRequest | None) -> str | None:
    return request.result.digest if isinstance(request, EndedRequest) and request.result else None
