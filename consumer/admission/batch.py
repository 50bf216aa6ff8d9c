"""A batch of records → what one transaction writes. Pure, but for the memory that it moves forward."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from consumer.admission import ledger
from consumer.admission.advance import dispatch, forget, wake
from consumer.admission.cancel import stop
from consumer.admission.decide import decide
from consumer.admission.deletion import send_delete_again
from consumer.admission.deletions import Deletion
from consumer.admission.fleet_view import Fleet
from consumer.admission.lapse import lapse
from consumer.admission.outlook import Outlook
from consumer.admission.quota import Account
from consumer.admission.rules import Rules
from consumer.admission.state import (
    Blamed,
    Decision,
    Effects,
    EndedRequest,
    Movement,
    OpenRequest,
    PartitionState,
    RequestKey,
)
from consumer.admission.suspension import withdrawn
from consumer.admission.times import Span, spans
from transport.records import Outgoing, Record

__all__ = ["Batch", "decide_batch"]


_Step = Callable[[int], Effects | None]
"""From a time to what follows next, on the memory that the last step left."""


@dataclass(slots=True)
class Batch:
    """Everything that is to become visible together."""

    messages: list[Outgoing] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    moved: list[Movement] = field(default_factory=list)
    blamed: list[Blamed] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    _accounts: dict[str, Account] = field(default_factory=dict)
    _requests: dict[RequestKey, OpenRequest | EndedRequest | None] = field(default_factory=dict)
    _early_cancels: dict[RequestKey, int | None] = field(default_factory=dict)
    _deletions: dict[RequestKey, Deletion | None] = field(default_factory=dict)
    _read: bool = False
    _awaited: bool = False

    @property
    def can_wait(self) -> bool:
        """Whether nothing but dead letters came of it, for which nobody waits: more may join it."""
        return bool(self.messages) and not self._awaited

    @property
    def letters(self) -> int:
        """Records that became dead letters."""
        return sum(1 for decision in self.decisions if decision.what == "dead_lettered")

    @property
    def size(self) -> int:
        """The bytes of its messages."""
        return sum(len(out.value or b"") for out in self.messages)

    @property
    def empty(self) -> bool:
        changed = self._accounts or self._requests or self._early_cancels or self._deletions
        return not (self._read or self.messages or changed)

    @property
    def tenants(self) -> set[str]:
        """Those whose requests have changed."""
        return {key.tenant for key in self._requests}

    def take(self, state: PartitionState, effects: Effects) -> None:
        self.spans += spans(state, effects)
        state.apply(effects)
        self.messages += effects.messages
        self.decisions += effects.decisions
        changed = effects.accounts or effects.requests or effects.early_cancels or effects.deletions or effects.blamed
        self._awaited |= bool(changed) or any(decision.what != "dead_lettered" for decision in effects.decisions)
        self.moved += effects.moved
        # The last word on each key is enough: what it was in between is of no use to whoever restores.
        self._accounts.update(effects.accounts)
        self._requests.update(effects.requests)
        self._early_cancels.update(effects.early_cancels)
        self._deletions.update(effects.deletions)
        if effects.blamed is not None:
            self.blamed.append(effects.blamed)

    def read(self) -> None:
        """Records were read: how far must be written, also when nothing else follows from them."""
        self._read = True

    def outgoing(self, state: PartitionState, rules: Rules) -> list[Outgoing]:
        """All records of the transaction; the ledger's last."""
        topic, partition = rules.topics.ledger, rules.partition
        return [
            *self.messages,
            *(ledger.account_record(topic, partition, account) for account in self._accounts.values()),
            *(ledger.request_record(topic, partition, key, request) for key, request in self._requests.items()),
            *(
                ledger.early_cancel_record(topic, partition, key, until_ms)
                for key, until_ms in self._early_cancels.items()
            ),
            *(ledger.deletion_record(topic, partition, key, deletion) for key, deletion in self._deletions.items()),
            ledger.offsets_record(topic, partition, state),
        ]


def decide_batch(
    state: PartitionState,
    records: Iterable[Record],
    rules: Rules,
    now_ms: int | None,
    fleet: Fleet,
    *,
    joining: Batch | None = None,
) -> Batch:
    """Decide ``records`` in their order, and after each who may leave for the fleet; then what only time brings about.

    ``now_ms`` is the broker's time, or None while it is not known; ``fleet`` is what was heard of the workers, which
    says where jobs go and how many, never whether. ``joining``: a batch that was decided on the same memory and is not
    committed yet; these records then join it. ``state`` is moved forward: if the batch is not committed, it must be
    dropped.
    """
    batch = joining or Batch()
    outlook = Outlook(state, rules, fleet, max(state.clock_ms, now_ms or 0))
    woken, sent = partial(wake, state, rules), partial(dispatch, state, rules, outlook)
    for record in records:
        name = rules.input_of(record.topic)
        if record.offset < state.next_offsets[name]:
            continue
        # Around each record, not once a batch: what is decided must not depend on how records fall into batches.
        state.clock_ms = max(state.clock_ms, record.timestamp_ms)
        _take_all(batch, state, woken)
        batch.take(state, decide(state, record, rules, fleet))
        batch.read()
        state.next_offsets[name] = record.offset + 1
        _take_all(batch, state, sent)
    if now_ms is not None:
        state.clock_ms = max(state.clock_ms, now_ms)
    if rules.directory.version > state.tenants_version:
        state.tenants_version = rules.directory.version
        batch.read()
        state.turns.allow_all()
    _take_all(batch, state, woken)
    for request in withdrawn(state, rules):
        batch.take(state, stop(state, request, rules, state.clock_ms))
    _take_all(batch, state, partial(lapse, state, rules, outlook))
    _take_all(batch, state, sent)
    _take_all(batch, state, partial(send_delete_again, state, rules, fleet=fleet))
    batch.take(state, forget(state, state.clock_ms))
    return batch


def _take_all(batch: Batch, state: PartitionState, step: _Step) -> None:
    """Take one decision after the other, each on the memory that the last one left, until there is none."""
    while (effects := step(state.clock_ms)) is not None:
        batch.take(state, effects)
