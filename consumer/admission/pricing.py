"""A dry run: what a request would cost, and whether and when it would be accepted. Nothing is held, no id is bound."""

from __future__ import annotations

from consumer.admission import messages
from consumer.admission.checks import examine
from consumer.admission.fleet_view import Fleet
from consumer.admission.intake import Submission
from consumer.admission.quota import QuotaExceeded
from consumer.admission.rules import Rules
from consumer.admission.state import Decision, Effects, PartitionState
from schemas.errors import EaselError
from schemas.events import Priced
from schemas.requests import GenerationRequest

__all__ = ["priced"]


def priced(
    state: PartitionState, submission: Submission, request: GenerationRequest, rules: Rules, fleet: Fleet
) -> Effects:
    """The answer to a dry run, by the checks of a real one. Raises ``EaselError`` for what has no price."""
    refusal: EaselError | None
    try:
        examined = examine(state, submission, request, rules, fleet)
    except EaselError as error:
        # Without the frames it was raised through: this one is among them, and would hold itself.
        refusal, cached = error.with_traceback(None), False
        cost, position = _price(submission, request, rules), state.waiting_of(submission.tenant.id)
    else:
        refusal, cached = examined.refusal, examined.hit is not None
        cost, position = examined.cost, examined.position
    limited = refusal if isinstance(refusal, QuotaExceeded) else None
    answer = Priced(
        tenant=submission.key.tenant,
        request_id=submission.key.request_id,
        model=request.model,
        cost_milliunits=cost,
        acceptable=refusal is None,
        cached=cached,
        position=position,
        error=refusal.body() if refusal else None,
        limit=limited.limit if limited else None,
        retry_after_s=limited.retry_after_s if limited else None,
    )
    said = messages.result(
        rules, answer, number=submission.number, at_ms=submission.at_ms, traceparent=submission.envelope.traceparent
    )
    return Effects(messages=said, decisions=[Decision("priced", refusal.code if refusal else "", submission.key)])


def _price(submission: Submission, request: GenerationRequest, rules: Rules) -> int:
    card = rules.catalog.card(request.model)
    return card.cost_milliunits(card.resolve(request, submission.key.request_id), submission.tenant.price_factor)
