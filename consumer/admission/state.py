"""What a partition remembers: accounts, requests, and how far it has read.

All of it is in the ledger; the queue and the counts are derived. ``apply`` is the only way in which it changes, and
takes the effects of a decision whole.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from consumer.admission.deletions import Deletion, Deletions
from consumer.admission.early_cancels import EarlyCancels
from consumer.admission.fairness import Turns, rank_of
from consumer.admission.keys import RequestKey
from consumer.admission.known_by import KeptResult, KnownBy
from consumer.admission.leases import Leases
from consumer.admission.quota import Account
from schemas.jobs import JobStarted
from schemas.requests import Parameters
from transport.records import Outgoing

__all__ = [
    "Blamed",
    "Decision",
    "Effects",
    "EndedRequest",
    "Movement",
    "OpenRequest",
    "PartitionState",
    "RequestKey",
    "Start",
]

OpenState = Literal["queued", "dispatched", "running"]
EndState = Literal["succeeded", "failed", "canceled"]


class Start(NamedTuple):
    """A worker said that it gives an attempt to its engine, and has not said since what became of it."""

    worker: str
    attempt: int
    alone: bool

    @classmethod
    def of(cls, event: JobStarted) -> Start:
        return cls(event.worker, event.attempt, event.alone)


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
    """What is held, in milli-units: the work at the tenant's price."""
    work: int
    """What it takes of the fleet, in milli-units."""
    day: str
    month: str
    pool: str
    parameters: Parameters
    metadata: Mapping[str, str]
    traceparent: str | None = None
    attempt: int = 0
    failures: int = 0
    """Attempts that failed and may be made again; what was sent again because nobody had it is not among them."""
    starts: tuple[Start, ...] = ()
    """Starts that were reported and neither ended nor were released, of whatever attempt."""
    alone: bool = False
    """It is to run in a batch of its own: a start of it never ended."""
    cancel_requested: bool = False
    """Its tenant wishes it to stop; the note to the workers is out."""
    dispatched_ms: int | None = None
    retry_at_ms: int | None = None
    """Queued, but not before this time: an attempt has failed."""
    idempotency_key: str | None = None
    seeded: bool = False
    """Its seed was asked for, so that a later request can be answered by its result."""
    replayed: bool = False
    """It came by a replay of dead letters."""

    @property
    def deadline_ms(self) -> int | None:
        deadline = self.parameters.deadline
        return None if deadline is None else int(deadline.timestamp() * 1000)

    @property
    def lone_starts(self) -> int:
        return sum(start.alone for start in self.starts)


@dataclass(frozen=True, slots=True)
class EndedRequest:
    """A request that has ended: remembered longer than any token that could bring it again lives."""

    key: RequestKey
    state: EndState
    body_sha256: str
    ended_ms: int
    forget_ms: int
    idempotency_key: str | None = None
    result: KeptResult | None = None


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
    turn: int = 0
    """The partition's own time afterwards, where it moves on."""
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
        self.turn = max(self.turn, later.turn)


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
        self.turn = 0
        """The partition's own time: the tag of whoever was served last."""
        self.early_cancels = EarlyCancels()
        self.deletions = Deletions()
        self.leases = Leases()
        self._idempotency_keys = KnownBy()
        self._results = KnownBy()
        self._open_of: dict[str, dict[RequestKey, None]] = {}
        self._turns: Turns[RequestKey] = Turns()
        self._in_flight: set[RequestKey] = set()
        self._in_flight_of: Counter[str] = Counter()
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

    def next_turn(self, may_send: Callable[[str], bool]) -> OpenRequest | None:
        """The queued request whose turn it is, among the tenants that ``may_send``."""
        key = self._turns.next(lambda tenant: self.account(tenant).turn, may_send)
        request = self.requests[key] if key else None
        return request if isinstance(request, OpenRequest) else None

    def open_of(self, tenant: str) -> Iterator[OpenRequest]:
        """What a tenant has open, in no order that counts."""
        for key in self._open_of.get(tenant, ()):
            request = self.requests[key]
            if isinstance(request, OpenRequest):
                yield request

    def waiting_of(self, tenant: str) -> int:
        return self._turns.of(tenant)

    def in_flight_of(self, tenant: str) -> int:
        return self._in_flight_of[tenant]

    @property
    def queued(self) -> int:
        """How many wait for their turn; those that wait for another attempt are not among them."""
        return len(self._turns)

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

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
        self.turn = max(self.turn, effects.turn)
        for key, request in effects.requests.items():
            self.put(key, request)
        for key, until_ms in effects.early_cancels.items():
            self.early_cancels.put(key, until_ms)
        for key, deletion in effects.deletions.items():
            self.deletions.put(key, deletion)

    def put(self, key: RequestKey, request: OpenRequest | EndedRequest | None) -> None:
        """Set or forget one request, and what is derived from it."""
        self._turns.remove(key)
        if key in self._in_flight:
            self._in_flight.discard(key)
            self._in_flight_of[key.tenant] -= 1
            if not isinstance(request, OpenRequest) or request.state == "queued":
                self.leases.end(key)
        before = self.requests.get(key)
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
        if request.state == "queued" and request.retry_at_ms is not None:
            heapq.heappush(self._retries, (request.retry_at_ms, key))
        elif request.state == "queued":
            rank = rank_of(request.parameters.priority, request.accepted_ms)
            self._turns.add(key, key.tenant, rank, request.sequence)
        else:
            self._in_flight.add(key)
            self._in_flight_of[key.tenant] += 1
            self.leases.renew(key)


def _key_of(request: OpenRequest | EndedRequest | None) -> str | None:
    return request.idempotency_key if request else None


def _digest_of(request: OpenRequest | EndedRequest | None) -> str | None:
    return request.result.digest if isinstance(request, EndedRequest) and request.result else None
