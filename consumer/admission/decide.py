"""The decision: a record and what the partition remembers → effects.

Pure: no Kafka, no clock, no randomness. The same record on the same memory decides the same, so a batch that was lost
in a crash is simply decided again. Read from the top: it is the specification, in the order of what is checked.
"""

from __future__ import annotations

import traceback

from consumer.admission import intake, messages, quota
from consumer.admission.advance import back_in_turn
from consumer.admission.intake import Submission
from consumer.admission.outcomes import end_failed, outcome
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
from schemas.catalog import ModelCard
from schemas.errors import Code, EaselError, ErrorBody, ErrorType
from schemas.events import Accepted, Duplicate, Limit, Rejected, UsageHeld
from schemas.requests import Parameters
from schemas.tenants import Tenant
from transport.records import Record

__all__ = ["decide"]


def decide(state: PartitionState, record: Record, rules: Rules) -> Effects:
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
        return _decide_submission(state, record, submission, rules)
    except EaselError as refusal:
        return _rejected(rules, submission, refusal)
    except Exception as error:
        effects = _dead_letter(rules, record, _internal_error(), blamed=_blamed(submission.key.tenant, error))
        told = _rejected(rules, submission, EaselError(Code.INTERNAL_ERROR, _INTERNAL, type=ErrorType.SERVER))
        effects.messages += told.messages
        effects.decisions += told.decisions
        return effects


def _decide_submission(state: PartitionState, record: Record, submission: Submission, rules: Rules) -> Effects:
    request = intake.understand(submission)
    tenant, key, at_ms = submission.tenant, submission.key, submission.at_ms
    if intake.home_of(tenant.id, rules) != rules.partition:
        moved = messages.rerouted(rules, record, tenant=tenant.id, appended_ms=at_ms)
        return Effects(messages=[moved], decisions=[Decision("rerouted", "", key)])

    known = state.requests.get(key)
    if known is not None:
        return _duplicate(rules, submission, known)

    if tenant.status != "active":
        raise EaselError(
            Code.TENANT_SUSPENDED, f"the tenant {tenant.id!r} is suspended: ask the operator", type=ErrorType.PERMISSION
        )
    card = rules.catalog.card(request.model)
    if tenant.models is not None and request.model not in tenant.models:
        raise EaselError(
            Code.MODEL_NOT_ALLOWED,
            f"the tenant {tenant.id!r} may not use the model {request.model!r}; it may use: {', '.join(tenant.models)}",
            param="model",
            type=ErrorType.PERMISSION,
        )
    parameters = card.resolve(request, key.request_id)
    if request.deadline is not None and request.deadline.timestamp() * 1000 <= at_ms:
        raise EaselError(Code.DEADLINE_EXCEEDED, "its deadline had passed when it arrived", param="deadline")
    _require_within_limits(tenant, parameters)

    account = quota.take_token(state.account(tenant.id), tenant.limits, at_ms)
    # From here on a refusal has used up its token: the rate counts requests that were looked at, not only good ones.
    cost = card.cost_milliunits(parameters, tenant.price_factor)
    waiting = state.waiting_of(tenant.id)
    try:
        held = quota.hold(account, tenant, cost, at_ms)
        _require_room(tenant, waiting)
    except EaselError as refusal:
        effects = _rejected(rules, submission, refusal)
        effects.accounts[tenant.id] = account
        return effects
    held = back_in_turn(state, held)
    accepted = _open_request(state, submission, card, parameters, cost, dict(request.metadata))
    answer = Accepted(
        tenant=tenant.id,
        request_id=key.request_id,
        model=request.model,
        cost_milliunits=cost,
        position=waiting,
        seed=parameters.seed,
    )
    return Effects(
        messages=[
            *messages.result(rules, answer, number=0, at_ms=at_ms, traceparent=accepted.traceparent),
            messages.moved(UsageHeld, rules, held, accepted, cost, at_ms=at_ms),
        ],
        accounts={tenant.id: held},
        requests={key: accepted},
        decisions=[Decision("accepted", "", key)],
        moved=[Movement("held", tenant.id, cost)],
    )


def _open_request(
    state: PartitionState,
    submission: Submission,
    card: ModelCard,
    parameters: Parameters,
    cost: int,
    metadata: dict[str, str],
) -> OpenRequest:
    day, month = quota.periods_of(submission.tenant, submission.at_ms)
    return OpenRequest(
        key=submission.key,
        state="queued",
        body_sha256=submission.body_sha256,
        sequence=state.sequence + 1,
        accepted_ms=submission.at_ms,
        cost=cost,
        work=card.cost_milliunits(parameters),
        day=day,
        month=month,
        pool=card.pool,
        parameters=parameters,
        metadata=metadata,
        traceparent=submission.envelope.traceparent,
    )


def _duplicate(rules: Rules, submission: Submission, known: OpenRequest | EndedRequest) -> Effects:
    conflict = None
    if known.body_sha256 != submission.body_sha256:
        conflict = ErrorBody(
            message="this id belongs to another request of yours: make a new id",
            type=ErrorType.INVALID_REQUEST,
            param="ce_id",
            code=Code.ID_CONFLICT,
        )
    event = Duplicate(
        tenant=submission.key.tenant, request_id=submission.key.request_id, state=known.state, error=conflict
    )
    return Effects(
        messages=messages.result(
            rules,
            event,
            number=submission.number,
            at_ms=submission.at_ms,
            traceparent=submission.envelope.traceparent,
        ),
        decisions=[Decision("duplicate", conflict.code if conflict else "", submission.key)],
    )


def _require_within_limits(tenant: Tenant, parameters: Parameters) -> None:
    limits = tenant.limits
    for name, value, most in (
        ("images", parameters.images, limits.images),
        ("steps", parameters.steps, limits.steps),
        ("pixels", parameters.width * parameters.height, limits.pixels),
    ):
        if most is not None and value > most:
            raise EaselError(
                Code.LIMIT_EXCEEDED,
                f"{name}: {value} is more than the {most} that {tenant.id!r} may ask for",
                param=name,
            )


def _require_room(tenant: Tenant, waiting: int) -> None:
    most = tenant.limits.queued
    if waiting >= most:
        raise quota.QuotaExceeded(
            Code.QUEUE_FULL,
            f"{waiting} requests of {tenant.id!r} are waiting already: wait until some have ended",
            Limit(name="queued", limit=most, remaining=0),
            None,
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
        messages=messages.result(
            rules,
            event,
            number=submission.number,
            at_ms=submission.at_ms,
            traceparent=submission.envelope.traceparent,
        ),
        decisions=[Decision("rejected", refusal.code, submission.key)],
    )


def _decide_outcome(state: PartitionState, record: Record, rules: Rules) -> Effects:
    key: RequestKey | None = None
    try:
        event, key = intake.read_outcome(record, rules)
        return outcome(state, event, key, rules, record.timestamp_ms)
    except EaselError as refusal:
        return _dead_letter(rules, record, refusal.body())
    except Exception as error:
        effects = _dead_letter(rules, record, _internal_error(), blamed=_blamed(key.tenant if key else "", error))
        known = state.requests.get(key) if key else None
        if isinstance(known, OpenRequest):
            ended = end_failed(state, known, _internal_error(), rules, record.timestamp_ms)
            effects.messages += ended.messages
            effects.accounts = ended.accounts
            effects.requests = ended.requests
            effects.decisions += ended.decisions
            effects.moved += ended.moved
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
