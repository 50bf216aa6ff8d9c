"""How a request ends: settled for what was delivered or run, the rest refunded.

The terminal event, its usage entries and the note that stops what may still be out share a transaction: no one sees one
without the others.
"""

from __future__ import annotations

from consumer.admission import messages, quota
from consumer.admission.cache import Hit, answer, keep
from consumer.admission.known_by import KeptResult
from consumer.admission.quota import Account
from consumer.admission.rules import REPLAYED_REMEMBERED_MS, Rules
from consumer.admission.state import (
    Decision,
    Effects,
    EndedRequest,
    EndState,
    Movement,
    OpenRequest,
    PartitionState,
)
from schemas.errors import ErrorBody
from schemas.events import Canceled, Event, Failed, Succeeded, UsageRefunded, UsageSettled
from schemas.jobs import JobCanceled, JobFailed, JobSucceeded, Outcome

__all__ = ["end_cached", "end_canceled", "end_failed", "end_succeeded", "end_without_pictures"]


def end_succeeded(
    state: PartitionState, request: OpenRequest, event: JobSucceeded, rules: Rules, at_ms: int
) -> Effects:
    """The end with pictures; with fewer than were asked for, the part of those that were made is settled."""
    asked, delivered = request.parameters.images, len(event.outputs)
    settled = _cost_of(request, delivered + len(event.blocked))
    waited_ms = (request.dispatched_ms or at_ms) - request.accepted_ms
    told = Succeeded(
        tenant=request.key.tenant,
        request_id=request.key.request_id,
        attempt=event.attempt,
        model=request.parameters.model,
        weights_revision=event.weights_revision,
        outputs=event.outputs,
        manifest=event.manifest,
        partial=delivered < asked,
        blocked=event.blocked,
        cost_milliunits=settled,
        refunded_milliunits=request.cost - settled,
        waited_ms=max(0, waited_ms),
        engine_ms=event.engine_ms,
        metadata=dict(request.metadata),
    )
    return _ended(
        state.account(request.key.tenant),
        request,
        "succeeded",
        told,
        settled,
        rules,
        at_ms,
        reported=event,
        result=keep(state, request, event),
    )


def end_cached(account: Account, request: OpenRequest, hit: Hit, rules: Rules) -> Effects:
    """The end of a request that an earlier result answers, in the moment in which it was accepted."""
    found = answer(request, hit)
    return _ended(account, request, "succeeded", found, request.cost, rules, request.accepted_ms, reported=None)


def end_without_pictures(
    state: PartitionState,
    request: OpenRequest,
    cause: ErrorBody,
    rules: Rules,
    at_ms: int,
    *,
    reported: Outcome | None = None,
) -> Effects:
    """The end when there will be no picture. What its tenant wished to stop has not failed."""
    if request.cancel_requested:
        return end_canceled(state.account(request.key.tenant), request, rules, at_ms, reported=reported)
    return end_failed(state, request, cause, rules, at_ms, reported=reported)


def end_failed(
    state: PartitionState,
    request: OpenRequest,
    cause: ErrorBody,
    rules: Rules,
    at_ms: int,
    *,
    reported: Outcome | None = None,
) -> Effects:
    """The end of a request that went wrong: it costs the tenant nothing but the pictures that were made and blocked."""
    blocked = reported.blocked if isinstance(reported, JobFailed) else []
    settled = _cost_of(request, len(blocked))
    told = Failed(
        tenant=request.key.tenant,
        request_id=request.key.request_id,
        attempt=request.attempt,
        error=cause,
        blocked=blocked,
        cost_milliunits=settled,
        refunded_milliunits=request.cost - settled,
        metadata=dict(request.metadata),
    )
    account = state.account(request.key.tenant)
    return _ended(account, request, "failed", told, settled, rules, at_ms, reported=reported)


def end_canceled(
    account: Account, request: OpenRequest, rules: Rules, at_ms: int, *, reported: Outcome | None = None
) -> Effects:
    """The end that was wished for: the steps that ran are settled."""
    settled = 0
    if isinstance(reported, JobCanceled):
        whole = request.parameters.images * request.parameters.denoising_steps
        settled = request.cost * max(0, min(reported.steps_run, whole)) // whole
    elif isinstance(reported, JobFailed):
        settled = _cost_of(request, len(reported.blocked))
    told = Canceled(
        tenant=request.key.tenant,
        request_id=request.key.request_id,
        attempt=request.attempt,
        cost_milliunits=settled,
        refunded_milliunits=request.cost - settled,
        metadata=dict(request.metadata),
    )
    return _ended(account, request, "canceled", told, settled, rules, at_ms, reported=reported)


def _ended(
    account: Account,
    request: OpenRequest,
    end: EndState,
    told: Event,
    settled: int,
    rules: Rules,
    at_ms: int,
    *,
    reported: Outcome | None,
    result: KeptResult | None = None,
) -> Effects:
    """The terminal event, with its usage entries: ``settled`` of what ``account`` holds for it, the rest refunded."""
    key, refunded = request.key, request.cost - settled
    effects = Effects(decisions=[Decision(end, "", key)])
    effects.messages += messages.result(
        rules, told, number=0, at_ms=at_ms, traceparent=request.traceparent, webhook=request.webhook
    )
    if settled or not refunded:
        account = quota.release(account, request.day, request.month, settled=settled, refunded=0)
        effects.messages.append(messages.moved(UsageSettled, rules, account, request, settled, at_ms=at_ms))
        effects.moved.append(Movement("settled", key.tenant, settled))
    if refunded:
        account = quota.release(account, request.day, request.month, settled=0, refunded=refunded)
        effects.messages.append(messages.moved(UsageRefunded, rules, account, request, refunded, at_ms=at_ms))
        effects.moved.append(Movement("refunded", key.tenant, refunded))
    if _may_be_out(request, reported):
        effects.messages.append(messages.control(rules, key, min_attempt=request.attempt + 1, at_ms=at_ms))
    effects.accounts[key.tenant] = account
    remembered_ms = REPLAYED_REMEMBERED_MS if request.replayed else 0
    effects.requests[key] = EndedRequest(
        key,
        end,
        request.body_sha256,
        at_ms,
        at_ms + max(rules.remembered_ms, remembered_ms),
        idempotency_key=request.idempotency_key,
        result=result,
    )
    return effects


def _cost_of(request: OpenRequest, pictures: int) -> int:
    # Every picture of a request costs the same, so what was not made is refunded to the unit.
    asked = request.parameters.images
    return request.cost * min(pictures, asked) // asked


def _may_be_out(request: OpenRequest, reported: Outcome | None) -> bool:
    """Whether some worker may still have an attempt, besides the one that ``reported`` this end."""
    if request.attempt == 0 or request.cancel_requested:
        # Never sent; or the note went out with the cancel, and no attempt has been made since.
        return False
    if reported is None or request.state == "queued":
        return True
    others = any(start.worker != reported.worker for start in request.starts)
    return others or reported.attempt != request.attempt
