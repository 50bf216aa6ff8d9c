"""May it be accepted, and at what price? Each check in its order; what a dry run asks is decided by the same lines."""

from __future__ import annotations

import msgspec

from consumer.admission import quota
from consumer.admission.cache import Hit, look_up
from consumer.admission.fleet_view import Fleet
from consumer.admission.intake import Submission
from consumer.admission.quota import Account, QuotaExceeded
from consumer.admission.rules import Rules
from consumer.admission.state import PartitionState
from schemas.catalog import ModelCard
from schemas.errors import Code, EaselError, ErrorType
from schemas.events import Limit
from schemas.requests import GenerationRequest, Parameters
from schemas.sources import require_own_source
from schemas.tenants import Tenant
from schemas.webhook_entries import require_allowed

__all__ = ["Examined", "examine"]


class Examined(msgspec.Struct, frozen=True, gc=False):
    """A request that could be made, and what its tenant's account says to it."""

    card: ModelCard
    parameters: Parameters
    cost: int
    position: int
    """Requests of its tenant that wait before it."""
    account: Account
    """With its token taken, and its cost held unless there is a refusal."""
    refusal: QuotaExceeded | None = None
    hit: Hit | None = None
    """The earlier result that answers it: then it waits for nothing."""


def examine(
    state: PartitionState, submission: Submission, request: GenerationRequest, rules: Rules, fleet: Fleet
) -> Examined:
    """Every check that a request has to pass once it is known to be new.

    Raises ``EaselError`` for a refusal that leaves the account as it was. A refusal that has used up a token is part of
    the answer: the rate counts requests that were looked at, not only good ones.
    """
    tenant, at_ms = submission.tenant, submission.at_ms
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
    if tenant.priorities is not None and request.priority not in tenant.priorities:
        raise EaselError(
            Code.PRIORITY_NOT_ALLOWED,
            f"the tenant {tenant.id!r} may not ask for the priority {request.priority!r}; it may ask for:"
            f" {', '.join(tenant.priorities)}",
            param="priority",
            type=ErrorType.PERMISSION,
        )
    if request.webhook is not None:
        require_allowed(tenant.id, tenant.request_webhooks, request.webhook)
    parameters = card.resolve(request, submission.key.request_id)
    if request.deadline is not None and request.deadline.timestamp() * 1000 <= at_ms:
        raise EaselError(Code.DEADLINE_EXCEEDED, "its deadline had passed when it arrived", param="deadline")
    _require_within_limits(tenant, parameters)
    _require_allowed_prompts(tenant, request, rules)
    for param in ("source_image", "mask_image"):
        key = getattr(parameters, param)
        if key is not None:
            require_own_source(tenant.id, key, param)

    account = quota.take_token(state.account(tenant.id), tenant.limits, at_ms)
    hit = None if request.seed is None else look_up(state, tenant.id, card, parameters, fleet, at_ms)
    price_factor = tenant.price_factor * tenant.cached_price_factor if hit else tenant.price_factor
    cost = card.cost_milliunits(parameters, price_factor)
    waiting = 0 if hit else state.waiting_of(tenant.id)
    try:
        held = quota.hold(account, tenant, cost, at_ms)
        _require_room(tenant, waiting)
    except QuotaExceeded as refusal:
        # Without the frames it was raised through: they hold the batch, and what holds them here holds it for ever.
        return Examined(card, parameters, cost, waiting, account, refusal.with_traceback(None), hit)
    return Examined(card, parameters, cost, waiting, held, hit=hit)


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


def _require_allowed_prompts(tenant: Tenant, request: GenerationRequest, rules: Rules) -> None:
    # As its tenant wrote them: what a style adds is the operator's.
    for param, text in (("prompt", request.prompt), ("negative_prompt", request.negative_prompt)):
        rule = rules.prompts.blocking(tenant, text, negative=param == "negative_prompt") if text else None
        if rule is not None:
            raise EaselError(
                Code.PROMPT_BLOCKED,
                f"the {param.replace('_', ' ')} is not allowed by the rule {rule!r}: ask for something else",
                param=param,
            )


def _require_room(tenant: Tenant, waiting: int) -> None:
    most = tenant.limits.queued
    if waiting >= most:
        raise QuotaExceeded(
            Code.QUEUE_FULL,
            f"{waiting} requests of {tenant.id!r} are waiting already: wait until some have ended",
            Limit(name="queued", limit=most, remaining=0),
            None,
        )
