"""What admission says: every record that a decision writes besides the ledger's."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from consumer.admission.deletions import Deletion
from consumer.admission.intake import APPENDED_HEADER, REPLAY_HEADER, Submission, home_of, is_replay
from consumer.admission.quota import Account, balance
from consumer.admission.rules import Rules
from consumer.admission.state import OpenRequest, RequestKey
from consumer.dead_letters import dead_letter
from schemas.envelope import Envelope
from schemas.errors import ErrorBody
from schemas.events import Event, Usage
from schemas.ids import event_id
from schemas.jobs import Control, DeleteAssigned, JobAssigned
from schemas.webhooks import WEBHOOK
from transport.records import Outgoing, Record

__all__ = [
    "answer",
    "control",
    "dead_lettered",
    "delete_job",
    "job",
    "moved",
    "passed_on",
    "rerouted",
    "result",
    "usage",
]


def result(
    rules: Rules, event: Event, *, number: str | int, at_ms: int, traceparent: str | None, webhook: str | None = None
) -> list[Outgoing]:
    """An event on the results topic, and on the tenant's own where it has one.

    ``webhook``: where its request wants it posted, for the stage that does so.
    """
    shared = Outgoing(
        topic=rules.topics.results,
        key=event.tenant.encode(),
        value=(envelope := _envelope(rules, event, number, at_ms, traceparent, webhook)).data,
        headers=envelope.headers(),
        partition=home_of(event.tenant, rules),
    )
    if event.tenant not in rules.own_topics:
        return [shared]
    own = Outgoing(rules.topics.results_of(event.tenant), shared.value, shared.key, shared.headers, partition=0)
    return [shared, own]


def answer(rules: Rules, event: Event, submission: Submission) -> list[Outgoing]:
    """What is said to a submission: told apart from what is said when the same is read at another place."""
    return result(
        rules,
        event,
        number=submission.number,
        at_ms=submission.at_ms,
        traceparent=submission.envelope.traceparent,
    )


def usage(rules: Rules, event: Usage, *, at_ms: int, traceparent: str | None) -> Outgoing:
    """A movement of units. Each kind happens once to a request, so its id needs no number."""
    envelope = _envelope(rules, event, 0, at_ms, traceparent)
    return Outgoing(
        rules.topics.usage, envelope.data, event.tenant.encode(), envelope.headers(), partition=rules.partition
    )


def moved(
    kind: type[Usage], rules: Rules, account: Account, request: OpenRequest, milliunits: int, *, at_ms: int
) -> Outgoing:
    """The usage entry of ``milliunits`` of a request, with the balance of ``account`` after it."""
    tenant = rules.directory.tenants.get(request.key.tenant)
    limits = tenant.limits if tenant else None
    event = kind(
        tenant=request.key.tenant,
        request_id=request.key.request_id,
        milliunits=milliunits,
        model=request.parameters.model,
        day=balance(request.day, account.days, limits.day_milliunits if limits else None),
        month=balance(request.month, account.months, limits.month_milliunits if limits else None),
    )
    return usage(rules, event, at_ms=at_ms, traceparent=request.traceparent)


def job(rules: Rules, request: OpenRequest, partition: int, *, at_ms: int) -> Outgoing:
    """Work for the fleet, on this partition of its pool's jobs topic."""
    event = JobAssigned(
        tenant=request.key.tenant,
        request_id=request.key.request_id,
        attempt=request.attempt,
        alone=request.alone,
        cost_milliunits=request.cost,
        work_milliunits=request.work,
        parameters=request.parameters,
    )
    envelope = _envelope(rules, event, request.attempt, at_ms, request.traceparent)
    return Outgoing(
        topic=rules.topics.jobs(request.pool),
        value=envelope.data,
        headers=envelope.headers(),
        partition=partition,
    )


def delete_job(rules: Rules, key: RequestKey, deletion: Deletion, *, pool: str, partition: int) -> Outgoing:
    """For any worker: what the store holds of this request is to go."""
    event = DeleteAssigned(
        tenant=key.tenant, request_id=key.request_id, delete_id=deletion.delete_id, attempt=deletion.attempt
    )
    number, traceparent = f"{deletion.delete_id}/{deletion.attempt}", deletion.wanted[0].traceparent
    envelope = _envelope(rules, event, number, deletion.sent_ms, traceparent)
    return Outgoing(rules.topics.jobs(pool), envelope.data, headers=envelope.headers(), partition=partition)


def control(
    rules: Rules, key: RequestKey, *, min_attempt: int, at_ms: int, canceled: bool = False, alone: bool = False
) -> Outgoing:
    """A note to all workers: attempts of this request below ``min_attempt`` are not wanted any more."""
    event = Control(
        tenant=key.tenant, request_id=key.request_id, min_attempt=min_attempt, canceled=canceled, alone=alone
    )
    kind = "canceled" if canceled else "alone" if alone else ""
    envelope = _envelope(rules, event, f"{min_attempt}{kind}", at_ms, None)
    return Outgoing(
        topic=rules.topics.control,
        value=envelope.data,
        key=f"{key.tenant}/{key.request_id}".encode(),
        headers=envelope.headers(),
        partition=rules.partition,
    )


def rerouted(rules: Rules, record: Record, *, tenant: str, appended_ms: int) -> Outgoing:
    """The record, unchanged, to the partition that keeps its tenant's account, with the time of its first arrival."""
    # On the requests topic anybody can write them: there they say nothing.
    ours = {APPENDED_HEADER} if is_replay(record, rules) else {APPENDED_HEADER, REPLAY_HEADER}
    headers = tuple(header for header in record.headers if header[0] not in ours)
    return Outgoing(
        topic=rules.topics.rerouted,
        value=record.value,
        key=tenant.encode(),
        headers=(*headers, (APPENDED_HEADER, str(appended_ms).encode())),
        partition=home_of(tenant, rules),
    )


def passed_on(rules: Rules, record: Record, *, tenant: str) -> Outgoing:
    """A report of the fleet, unchanged, to the partition that keeps its tenant's account."""
    return Outgoing(
        rules.topics.outcomes, record.value, tenant.encode(), record.headers, partition=home_of(tenant, rules)
    )


def dead_lettered(rules: Rules, record: Record, cause: ErrorBody) -> Outgoing:
    """The record, whole, to the people who look after it."""
    return dead_letter(rules.topics.dead_letters, record, cause, stage="admission", partition=record.partition)


def _envelope(
    rules: Rules, event: Event, number: str | int, at_ms: int, traceparent: str | None, webhook: str | None = None
) -> Envelope:
    return Envelope(
        id=event_id(event.tenant, event.request_id, event.TYPE, number),
        type=event.TYPE,
        source=rules.installation,
        subject=event.request_id,
        time=_rfc3339(at_ms),
        traceparent=traceparent,
        data=event.model_dump_json().encode(),
        extensions={} if webhook is None else {WEBHOOK: webhook},
    )


@lru_cache(maxsize=256)
def _rfc3339(at_ms: int) -> str:
    # Cached: the records of a batch arrived in few different milliseconds, and each brings about several events.
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC).isoformat(timespec="milliseconds")
