"""What a partition of the stage remembers: what is owed to whom, and how far the results were read.

All of it is in the topic ``webhooks``, which one writer writes. Every change returns the records that make it true;
nothing is posted before they are committed.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from consumer.dead_letters import dead_letter
from consumer.webhooks.lines import Lines
from consumer.webhooks.owed import ENDPOINT_HEADER, Destination, Owed, own_webhook, read_owed
from consumer.webhooks.schedule import Schedule
from schemas.endpoints import Endpoints, Target
from schemas.envelope import Envelope
from schemas.errors import Code, EaselError, ErrorBody, ErrorType
from schemas.topics import Topics
from schemas.webhook_entries import require_allowed
from schemas.webhooks import WEBHOOK, name_of_type
from transport.records import Outgoing, Record

__all__ = ["Answer", "Book", "Ended", "Step", "target_of"]

_OFFSETS = b"__offsets"
_DISABLED = b"__disabled/"
_GONE = 410


class Answer(NamedTuple):
    """What came of an attempt: a status, or what kept it from getting one."""

    status: int | None
    said: str
    """For people: the status and how its answer began, or the error."""
    asked_s: float | None = None
    """What it asked for by ``Retry-After``."""

    @property
    def well(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


class Ended(NamedTuple):
    """Events that are owed no longer, for counters and logs."""

    result: str
    owed: Owed


Step = tuple[list[Outgoing], Ended | None]
"""What is to be written, and what ended by that."""


class Book:
    """The memory of one partition."""

    def __init__(self, topics: Topics, partition: int, schedule: Schedule, *, per_endpoint: int, most: int) -> None:
        """``most``: what may wait for one destination."""
        self.next_offsets: dict[str, int] = {}
        """Input topic → the offset to read next."""
        self.not_before_ms = 0
        """What is older than the stage itself is not owed to anyone."""
        self.owed: dict[bytes, Owed] = {}
        self.disabled: dict[Destination, int] = {}
        """Endpoint → the version of ``tenants.yaml`` under which it said that it is gone."""
        self.lines = Lines(schedule, most=per_endpoint)
        self._doomed: deque[tuple[bytes, ErrorBody]] = deque()
        self._topics = topics
        self._partition = partition
        self._schedule = schedule
        self._most = most

    # from the topic

    def restore(self, records: Iterable[Record]) -> None:
        """Take in records of the topic, in their order."""
        for record in records:
            key, value = record.key or b"", record.value
            if key == _OFFSETS:
                found = json.loads(value or b"{}")
                self.next_offsets, self.not_before_ms = found["next"], found["not_before_ms"]
            elif key.startswith(_DISABLED):
                _, tenant, endpoint = key.decode().split("/", 2)
                if value is None:
                    self.disabled.pop((tenant, endpoint), None)
                else:
                    self.disabled[tenant, endpoint] = json.loads(value)["tenants_version"]
            elif value is None:
                self.owed.pop(key, None)
            else:
                self.owed[key] = read_owed(value)

    def restored(self) -> None:
        """All records were taken in: everything waits in its line."""
        for owed in self.owed.values():
            self.lines.add(owed)

    def offsets(self) -> Outgoing:
        """The record of how far the inputs were read."""
        content = {"next": self.next_offsets, "not_before_ms": self.not_before_ms}
        return Outgoing(self._topics.webhooks, json.dumps(content).encode(), _OFFSETS, partition=self._partition)

    # from the results

    def read(self, record: Record, endpoints: Endpoints, now_ms: int) -> list[Outgoing]:
        """An event of the results, or one that is to be delivered again: what it makes us owe."""
        self.next_offsets[record.topic] = record.offset + 1
        if record.timestamp_ms < self.not_before_ms:
            return []
        try:
            envelope = Envelope.read(record.headers, record.value)
            data = envelope.data.decode()
        except (EaselError, UnicodeDecodeError):
            return []
        tenant = (record.key or b"").decode("utf-8", "replace")
        again = dict(record.headers).get(ENDPOINT_HEADER) if record.topic == self._topics.redeliveries else None
        written: list[Outgoing] = []
        for endpoint in _wanted(envelope, tenant, endpoints, again):
            owed = Owed(
                tenant=tenant,
                endpoint=endpoint,
                id=envelope.id,
                type=envelope.type,
                source=envelope.source,
                data=data,
                partition=record.partition,
                offset=record.offset,
                appended_ms=record.timestamp_ms,
                since_ms=now_ms,
                due_ms=now_ms,
                subject=envelope.subject,
                time=envelope.time,
                traceparent=envelope.traceparent,
                webhook=envelope.extensions.get(WEBHOOK),
            )
            if again is not None and owed.destination in self.disabled:
                del self.disabled[owed.destination]
                written.append(Outgoing(self._topics.webhooks, None, _disabled_key(owed), partition=self._partition))
            written += self._owe(owed, endpoints)
        return written

    def _owe(self, owed: Owed, endpoints: Endpoints) -> list[Outgoing]:
        if owed.key in self.owed or self._is_disabled(owed.destination, endpoints):
            return []
        self.owed[owed.key] = owed
        if self.lines.waiting(owed.destination) >= self._most:
            self._doomed.append((owed.key, _undeliverable(owed, f"{self._most} events were waiting for it already")))
        else:
            self.lines.add(owed)
        return [owed.record(self._topics.webhooks, self._partition)]

    def _is_disabled(self, destination: Destination, endpoints: Endpoints) -> bool:
        return self.disabled.get(destination, 0) >= endpoints.version

    # from the attempts

    def start(self, now_ms: int) -> Iterator[Owed]:
        """What is to be tried now."""
        for key in self.lines.next(now_ms):
            yield self.owed[key]

    def settle(self, owed: Owed, answer: Answer, endpoints: Endpoints, now_ms: int) -> Step:
        """An attempt has ended with ``answer``."""
        self.lines.ended(owed.destination, now_ms, well=answer.well)
        if owed.key not in self.owed:
            # It was given up while it ran.
            return [], None
        if answer.well:
            return [self._forget(owed)], Ended("delivered", owed)
        if answer.status == _GONE:
            return self._gone(owed, endpoints)
        failures = owed.attempts + 1
        tried = msgspec.structs.replace(owed, attempts=failures, last=answer.said)
        due_ms = self._schedule.next_ms(
            since_ms=owed.since_ms, now_ms=now_ms, failures=failures, name=owed.id, asked_s=answer.asked_s
        )
        if due_ms is None:
            return self._bury(tried, _undeliverable(tried, f"its last attempt came to: {answer.said}"))
        later = msgspec.structs.replace(tried, due_ms=due_ms)
        self.owed[owed.key] = later
        self.lines.add(later)
        return [later.record(self._topics.webhooks, self._partition)], None

    def _gone(self, owed: Owed, endpoints: Endpoints) -> Step:
        written, ended = self._bury(owed, _gone(owed))
        if owed.endpoint:
            self.disabled[owed.destination] = endpoints.version
            content = json.dumps({"tenants_version": endpoints.version}).encode()
            written.append(Outgoing(self._topics.webhooks, content, _disabled_key(owed), partition=self._partition))
            self._doomed += [(key, _gone(self.owed[key])) for key in self.lines.remove(owed.destination)]
        return written, ended

    def give_up(self, *, most: int) -> list[Step]:
        """At most so many of those for which nothing is tried any more: they go to the dead letters."""
        found: list[Step] = []
        while self._doomed and len(found) < most:
            key, cause = self._doomed.popleft()
            if key in self.owed:
                found.append(self._bury(self.owed[key], cause))
        return found

    def look_over(self, endpoints: Endpoints, now_ms: int) -> None:
        """Mark what has waited for longer than it is tried, and what an endpoint that was disabled still had."""
        late: set[bytes] = set()
        for key, owed in self.owed.items():
            if self._is_disabled(owed.destination, endpoints):
                cause = _gone(owed)
            elif now_ms > self._schedule.ends_ms(owed.since_ms):
                cause = _undeliverable(owed, f"its last attempt came to: {owed.last or 'nothing: it was down'}")
            else:
                continue
            late.add(key)
            self._doomed.append((key, cause))
        self.lines.drop(late)
        self.lines.forget(now_ms)

    def _bury(self, owed: Owed, cause: ErrorBody) -> tuple[list[Outgoing], Ended]:
        letter = dead_letter(
            self._topics.dead_letters,
            owed.event(self._topics.results),
            cause,
            stage="webhooks",
            partition=self._partition,
        )
        return [letter, self._forget(owed)], Ended(str(cause.code), owed)

    def _forget(self, owed: Owed) -> Outgoing:
        del self.owed[owed.key]
        return Outgoing(self._topics.webhooks, None, owed.key, partition=self._partition)


def target_of(owed: Owed, endpoints: Endpoints) -> Target | None:
    """Where it goes by the file in force: an address or a secret that has changed counts from the next attempt on."""
    if owed.endpoint:
        return endpoints.named.get(owed.tenant, {}).get(owed.endpoint)
    allowed = endpoints.own.get(owed.tenant)
    wanted = None if owed.webhook is None else own_webhook(owed.webhook)
    if allowed is None or wanted is None:
        return None
    rules, secrets = allowed
    try:
        require_allowed(owed.tenant, rules, wanted)
    except EaselError:
        return None
    return Target(wanted.url, frozenset(wanted.events), secrets)


def _wanted(envelope: Envelope, tenant: str, endpoints: Endpoints, again: bytes | None) -> Iterator[str]:
    """The endpoints that an event goes to; "" is its request's own."""
    if again is not None:
        yield again.decode("utf-8", "replace")
        return
    name = name_of_type(envelope.type)
    for endpoint, target in endpoints.named.get(tenant, {}).items():
        if name in target.events:
            yield endpoint
    own = own_webhook(envelope.extensions[WEBHOOK]) if WEBHOOK in envelope.extensions else None
    if own is not None and name in own.events and tenant in endpoints.own:
        yield ""


def _disabled_key(owed: Owed) -> bytes:
    return _DISABLED + f"{owed.tenant}/{owed.endpoint}".encode()


def _undeliverable(owed: Owed, why: str) -> ErrorBody:
    return ErrorBody(
        message=f"{_named(owed)} did not take the event after {owed.attempts} attempts: {why}",
        type=ErrorType.SERVER,
        param=owed.endpoint or "webhook",
        code=Code.WEBHOOK_UNDELIVERABLE,
    )


def _gone(owed: Owed) -> ErrorBody:
    return ErrorBody(
        message=f"{_named(owed)} answered 410: it wants no events any more",
        type=ErrorType.SERVER,
        param=owed.endpoint or "webhook",
        code=Code.WEBHOOK_GONE,
    )


def _named(owed: Owed) -> str:
    return (
        f"the webhook {owed.endpoint!r} of {owed.tenant}" if owed.endpoint else f"a request's webhook of {owed.tenant}"
    )
