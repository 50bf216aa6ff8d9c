"""What the fleet reports → how a request goes on or ends: settled for what was delivered, the rest refunded.

The first success ends a request, whatever its attempt; a failure counts only for the newest attempt; what comes after
the end is dropped. The terminal event and its usage entries share a transaction: no one sees one without the others.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from consumer.admission import messages, quota
from consumer.admission.cache import keep
from consumer.admission.quota import Account
from consumer.admission.rules import REPLAYED_REMEMBERED_MS, Rules
from consumer.admission.state import (
    Decision,
    Effects,
    EndedRequest,
    EndState,
    KeptResult,
    Movement,
    OpenRequest,
    PartitionState,
    RequestKey,
)
from schemas.errors import ErrorBody
from schemas.events import Event, Failed, Succeeded, UsageRefunded, UsageSettled
from schemas.jobs import JobFailed, JobReleased, JobStarted, JobSucceeded, Outcome

__all__ = ["backoff_ms", "end_failed", "ended", "outcome"]

_BACKOFF_MOST_S = 300


def outcome(state: PartitionState, event: Outcome, key: RequestKey, rules: Rules, at_ms: int) -> Effects:
    """What follows from a report about an attempt."""
    request = state.requests.get(key)
    if request is None:
        return _dropped("unknown", key)
    if isinstance(request, EndedRequest):
        return _dropped("ended", key)
    if isinstance(event, JobSucceeded):
        return _succeeded(state, request, event, rules, at_ms)
    if event.attempt != request.attempt or request.state == "queued":
        # Queued: this attempt has failed already, on another worker that had it too.
        return _dropped("stale", key)
    if isinstance(event, JobStarted):
        return _changed(replace(request, state="running", starts=request.starts + 1), "started")
    if isinstance(event, JobReleased):
        return _changed(replace(request, state="dispatched", starts=max(0, request.starts - 1)), "released")
    if isinstance(event, JobFailed):
        if event.retryable and request.attempt < _attempts(request, rules):
            retry_at_ms = at_ms + backoff_ms(key.request_id, request.attempt)
            return _changed(replace(request, state="queued", starts=0, retry_at_ms=retry_at_ms), "retried")
        return end_failed(state, request, event.error, rules, at_ms)
    raise TypeError(f"no rule for a report of the kind {type(event).__name__}")


def backoff_ms(request_id: str, attempt: int) -> int:
    """How long to wait after a failed attempt: 2, 4, 8 … s, less up to half of it, so that not all come back at once.

    Drawn from the id: a decision made again after a crash waits as long.
    """
    drawn = hashlib.sha256(f"{request_id}/{attempt}".encode()).digest()[0]
    seconds = min(1 << attempt, _BACKOFF_MOST_S)
    return seconds * 1000 * (512 - drawn) // 512


def _succeeded(state: PartitionState, request: OpenRequest, event: JobSucceeded, rules: Rules, at_ms: int) -> Effects:
    asked, delivered = request.parameters.images, len(event.outputs)
    # Every picture of a request costs the same, so what was not delivered is refunded to the unit.
    settled = request.cost * min(delivered, asked) // asked
    waited_ms = (request.dispatched_ms or at_ms) - request.accepted_ms
    answer = Succeeded(
        tenant=request.key.tenant,
        request_id=request.key.request_id,
        attempt=event.attempt,
        model=request.parameters.model,
        weights_revision=event.weights_revision,
        outputs=event.outputs,
        manifest=event.manifest,
        partial=delivered < asked,
        cost_milliunits=settled,
        refunded_milliunits=request.cost - settled,
        waited_ms=max(0, waited_ms),
        engine_ms=event.engine_ms,
        metadata=dict(request.metadata),
    )
    return ended(
        state.account(request.key.tenant),
        request,
        "succeeded",
        answer,
        settled,
        rules,
        at_ms,
        newest_is_out=event.attempt != request.attempt,
        result=keep(state, request, event),
    )


def end_failed(state: PartitionState, request: OpenRequest, cause: ErrorBody, rules: Rules, at_ms: int) -> Effects:
    """The end of a request without a picture: whatever it has cost us, it costs the tenant nothing."""
    answer = Failed(
        tenant=request.key.tenant,
        request_id=request.key.request_id,
        attempt=request.attempt,
        error=cause,
        cost_milliunits=0,
        refunded_milliunits=request.cost,
        metadata=dict(request.metadata),
    )
    account = state.account(request.key.tenant)
    return ended(account, request, "failed", answer, 0, rules, at_ms, newest_is_out=False)


def ended(
    account: Account,
    request: OpenRequest,
    end: EndState,
    answer: Event,
    settled: int,
    rules: Rules,
    at_ms: int,
    *,
    newest_is_out: bool,
    result: KeptResult | None = None,
) -> Effects:
    """The terminal event, with its usage entries: ``settled`` of what ``account`` holds for it, the rest refunded."""
    key, refunded = request.key, request.cost - settled
    effects = Effects(decisions=[Decision(end, "", key)])
    effects.messages += messages.result(rules, answer, number=0, at_ms=at_ms, traceparent=request.traceparent)
    if settled or not refunded:
        account = quota.release(account, request.day, request.month, settled=settled, refunded=0)
        effects.messages.append(messages.moved(UsageSettled, rules, account, request, settled, at_ms=at_ms))
        effects.moved.append(Movement("settled", key.tenant, settled))
    if refunded:
        account = quota.release(account, request.day, request.month, settled=0, refunded=refunded)
        effects.messages.append(messages.moved(UsageRefunded, rules, account, request, refunded, at_ms=at_ms))
        effects.moved.append(Movement("refunded", key.tenant, refunded))
    if newest_is_out:
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


def _attempts(request: OpenRequest, rules: Rules) -> int:
    card = rules.catalog.models.get(request.parameters.model)
    return card.attempts if card else 1


def _changed(request: OpenRequest, what: str) -> Effects:
    return Effects(requests={request.key: request}, decisions=[Decision(what, "", request.key)])


def _dropped(reason: str, key: RequestKey) -> Effects:
    return Effects(decisions=[Decision("dropped_outcome", reason, key)])
