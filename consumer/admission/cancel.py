"""A cancel: what waits ends at once, what is with the fleet is stopped by a note, what has ended stays as it is."""

from __future__ import annotations

from msgspec.structs import replace

from consumer.admission import early_cancels, messages
from consumer.admission.endings import end_canceled
from consumer.admission.intake import Submission
from consumer.admission.rules import Rules
from consumer.admission.state import Decision, Effects, EndedRequest, OpenRequest, PartitionState, RequestKey
from schemas.errors import Code, EaselError
from schemas.events import CancelAccepted, CancelRefused
from schemas.requests import CancelRequest

__all__ = ["cancel", "stop"]


def cancel(state: PartitionState, submission: Submission, wish: CancelRequest, rules: Rules) -> Effects:
    """The answer to a cancel, and what follows from it. Stopping takes no token and is allowed to a suspended tenant.

    The target is a request of the tenant that signed: of another tenant's it knows nothing.
    """
    target = RequestKey(submission.key.tenant, wish.request_id)
    known = state.requests.get(target)
    if isinstance(known, EndedRequest):
        return _refused(submission, known, rules)
    effects = _remembered(state, target) if known is None else stop(state, known, rules, submission.at_ms)
    answer = CancelAccepted(
        tenant=target.tenant,
        request_id=target.request_id,
        cancel_id=submission.key.request_id,
        state="unknown" if known is None else known.state,
    )
    effects.messages[:0] = messages.answer(rules, answer, submission)
    effects.decisions.insert(0, Decision("cancel_accepted", "", target))
    return effects


def stop(state: PartitionState, request: OpenRequest, rules: Rules, at_ms: int) -> Effects:
    """The request ends now where it waits. Where it is with the fleet, the note goes out, and its report ends it."""
    if request.state == "queued":
        return end_canceled(state.account(request.key.tenant), request, rules, at_ms)
    if request.cancel_requested:
        return Effects()
    note = messages.control(rules, request.key, min_attempt=request.attempt + 1, canceled=True, at_ms=at_ms)
    return Effects(messages=[note], requests={request.key: replace(request, cancel_requested=True)})


def _remembered(state: PartitionState, target: RequestKey) -> Effects:
    effects = Effects(early_cancels={target: state.clock_ms + early_cancels.REMEMBERED_MS})
    crowded_out = state.early_cancels.crowded_out_by(target)
    if crowded_out is not None:
        effects.early_cancels[crowded_out] = None
    return effects


def _refused(submission: Submission, known: EndedRequest, rules: Rules) -> Effects:
    refusal = EaselError(
        Code.ALREADY_ENDED, f"the request has ended ({known.state}): there is nothing to stop", param="request_id"
    )
    answer = CancelRefused(
        tenant=known.key.tenant,
        request_id=known.key.request_id,
        cancel_id=submission.key.request_id,
        state=known.state,
        error=refusal.body(),
    )
    said = messages.answer(rules, answer, submission)
    return Effects(messages=said, decisions=[Decision("cancel_refused", refusal.code, known.key)])
