"""The decision: a record and what the partition remembers → effects.

Pure: no Kafka, no clock, no randomness. The same record on the same memory decides the same, so a batch that was lost
in a crash is simply decided again. Read from the top: it is the specification, in the order of what is checked.
"""

from __future__ import annotations

import traceback

from msgspec.structs import replace

from consumer.admission import intake, messages, quota
from consumer.admission.advance import back_in_turn
from consumer.admission.audit import audited
from consumer.admission.cancel import cancel
from consumer.admission.checks import Examined, examine
from consumer.admission.deletion import delete, deleted
from consumer.admission.endings import end_cached, end_canceled, end_without_pictures
from consumer.admission.fleet_view import Fleet
from consumer.admission.intake import Submission
from consumer.admission.outcomes import outcome
from consumer.admission.pricing import priced
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
from schemas.errors import Code, EaselError, ErrorBody, ErrorType
from schemas.events import Accepted, Duplicate, Rejected, UsageHeld
from schemas.jobs import JobDeleted
from schemas.requests import CancelRequest, DeleteRequest, GenerationRequest
from schemas.signing import IDEMPOTENCY_KEY
from schemas.tenants import Tenant
from transport.records import Record

__all__ = ["decide"]


def decide(state: PartitionState, record: Record, rules: Rules, fleet: Fleet) -> Effects:
    """What follows from one record. Never raises: an exception in here is the record's own, told in the effects."""
    if record.topic == rules.topics.outcomes:
        return _decide_outcome(state, record, rules)
    try:
        submission = intake.identify(record, rules)
    except EaselError as refusal:
        return _dead_letter(rules, record, refusal.body())
    except Exception as error:
        return _dead_letter(rules, record, _internal_error(), blamed=_blamed("", error))
    try:
        effects = _decide_submission(state, record, submission, rules, fleet)
    except EaselError as refusal:
        effects = _rejected(rules, submission, refusal)
    except Exception as error:
        effects = _dead_letter(rules, record, _internal_error(), blamed=_blamed(submission.key.tenant, error))
        told = _rejected(rules, submission, EaselError(Code.INTERNAL_ERROR, _INTERNAL, type=ErrorType.SERVER))
        effects.add(told)
    return audited(effects, submission, record, rules)


def _decide_submission(
    state: PartitionState, record: Record, submission: Submission, rules: Rules, fleet: Fleet
) -> Effects:
    wish = intake.understand(submission)
    tenant, key = submission.tenant, submission.key
    if intake.home_of(tenant.id, rules) != rules.partition:
        moved = messages.rerouted(rules, record, tenant=tenant.id, appended_ms=submission.appended_ms)
        return Effects(messages=[moved], decisions=[Decision("rerouted", "", key)])

    if isinstance(wish, CancelRequest):
        return cancel(state, submission, wish, rules)
    if isinstance(wish, DeleteRequest):
        return delete(state, submission, wish, rules, fleet)
    return _decide_request(state, submission, wish, rules, fleet)


def _decide_request(
    state: PartitionState, submission: Submission, request: GenerationRequest, rules: Rules, fleet: Fleet
) -> Effects:
    known = state.requests.get(submission.key)
    if known is not None:
        return _duplicate(rules, submission, known)
    if request.dry_run:
        return priced(state, submission, request, rules, fleet)
    if submission.idempotency_key is not None:
        first = state.under_idempotency_key(submission.key.tenant, submission.idempotency_key)
        if first is not None:
            return _duplicate(rules, submission, first)

    examined = examine(state, submission, request, rules, fleet)
    if examined.refusal is not None:
        effects = _rejected(rules, submission, examined.refusal)
        effects.accounts[submission.key.tenant] = examined.account
        return effects
    opened = _open_request(state, submission, request, examined)
    effects = _accepted(opened, examined, submission.tenant, request.group, rules)
    if state.early_cancels.holds(submission.key, state.clock_ms):
        # Its cancel came first. Accepted and ended at once, its id is bound: no copy of it can run later.
        effects.add(end_canceled(examined.account, opened, rules, opened.accepted_ms))
        effects.early_cancels[submission.key] = None
    elif examined.hit is not None:
        effects.add(end_cached(examined.account, opened, examined.hit, rules))
    else:
        waiting = back_in_turn(state, examined.account, opened.pool)
        effects.accounts[submission.key.tenant] = replace(waiting, asked=opened.asked)
    return effects


def _accepted(request: OpenRequest, examined: Examined, tenant: Tenant, group: str | None, rules: Rules) -> Effects:
    key, at_ms, cost = request.key, request.accepted_ms, request.cost
    answer = Accepted(
        tenant=key.tenant,
        request_id=key.request_id,
        model=request.parameters.model,
        cost_milliunits=cost,
        position=examined.position,
        seed=request.parameters.seed,
        limits=quota.left(examined.account, tenant, at_ms),
        group=group,
        metadata=dict(request.metadata),
    )
    return Effects(
        messages=[
            *messages.result(
                rules, answer, number=0, at_ms=at_ms, traceparent=request.traceparent, webhook=request.webhook
            ),
            messages.moved(UsageHeld, rules, examined.account, request, cost, at_ms=at_ms),
        ],
        accounts={key.tenant: examined.account},
        requests={key: request},
        decisions=[Decision("accepted", "", key)],
        moved=[Movement("held", key.tenant, cost)],
    )


def _open_request(
    state: PartitionState, submission: Submission, request: GenerationRequest, examined: Examined
) -> OpenRequest:
    day, month = quota.periods_of(submission.tenant, submission.at_ms)
    work = examined.card.cost_milliunits(examined.parameters)
    return OpenRequest(
        key=submission.key,
        state="queued",
        body_sha256=submission.body_sha256,
        sequence=state.sequence + 1,
        accepted_ms=submission.at_ms,
        cost=examined.cost,
        work=work,
        day=day,
        month=month,
        pool=examined.card.pool,
        parameters=examined.parameters,
        metadata=dict(request.metadata),
        traceparent=submission.envelope.traceparent,
        webhook=None if request.webhook is None else request.webhook.model_dump_json(),
        asked=examined.account.asked + work,
        idempotency_key=submission.idempotency_key,
        seeded=request.seed is not None,
        replayed=submission.replayed,
    )


def _duplicate(rules: Rules, submission: Submission, known: OpenRequest | EndedRequest) -> Effects:
    by_key = known.key != submission.key
    conflict = None
    if known.body_sha256 != submission.body_sha256:
        what, new, param, code = (
            ("idempotency key", "key", f"ce_{IDEMPOTENCY_KEY}", Code.IDEMPOTENCY_CONFLICT)
            if by_key
            else ("id", "id", "ce_id", Code.ID_CONFLICT)
        )
        conflict = ErrorBody(
            message=f"this {what} belongs to another request of yours: make a new {new}",
            type=ErrorType.INVALID_REQUEST,
            param=param,
            code=code,
        )
    event = Duplicate(
        tenant=submission.key.tenant,
        request_id=submission.key.request_id,
        state=known.state,
        of=known.key.request_id if by_key else None,
        error=conflict,
    )
    return Effects(
        messages=messages.answer(rules, event, submission),
        decisions=[Decision("duplicate", conflict.code if conflict else "", submission.key)],
    )


def _rejected(rules: Rules, submission: Submission, refusal: EaselError) -> Effects:
    event = Rejected(
        tenant=submission.key.tenant,
        request_id=submission.key.request_id,
        error=refusal.body(),
        limit=refusal.limit if isinstance(refusal, quota.QuotaExceeded) else None,
        retry_after_s=refusal.retry_after_s if isinstance(refusal, quota.QuotaExceeded) else None,
    )
    return Effects(
        messages=messages.answer(rules, event, submission),
        decisions=[Decision("rejected", refusal.code, submission.key)],
    )


def _decide_outcome(state: PartitionState, record: Record, rules: Rules) -> Effects:
    key: RequestKey | None = None
    try:
        event, key = intake.read_outcome(record)
        if intake.home_of(key.tenant, rules) != rules.partition:
            # Of a worker that counts the partitions otherwise: those of before a change go on until they are replaced.
            moved = messages.passed_on(rules, record, tenant=key.tenant)
            return Effects(messages=[moved], decisions=[Decision("rerouted", "", key)])
        if isinstance(event, JobDeleted):
            return deleted(state, event, key, rules, record.timestamp_ms)
        return outcome(state, event, key, rules, record.timestamp_ms)
    except EaselError as refusal:
        return _dead_letter(rules, record, refusal.body())
    except Exception as error:
        effects = _dead_letter(rules, record, _internal_error(), blamed=_blamed(key.tenant if key else "", error))
        known = state.requests.get(key) if key else None
        if isinstance(known, OpenRequest):
            ended = end_without_pictures(state, known, _internal_error(), rules, record.timestamp_ms)
            effects.add(ended)
        return effects


def _blamed(tenant: str, error: Exception) -> Blamed:
    # The places and the kind, not the message: it may repeat what a tenant wrote.
    return Blamed(tenant, "".join([*traceback.format_tb(error.__traceback__), type(error).__name__]))


def _dead_letter(rules: Rules, record: Record, cause: ErrorBody, *, blamed: Blamed | None = None) -> Effects:
    return Effects(
        messages=[messages.dead_lettered(rules, record, cause)],
        decisions=[Decision("dead_lettered", cause.code, None)],
        blamed=blamed,
    )


_INTERNAL = "easel failed on this record; it is kept with the dead letters, and the operator can replay it"


def _internal_error() -> ErrorBody:
    return ErrorBody(message=_INTERNAL, type=ErrorType.SERVER, code=Code.INTERNAL_ERROR)
