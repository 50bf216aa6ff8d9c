"""What room and time bring about, without a record that asks for it: a turn, a deadline, another attempt, forgetting.

Pure, like the decision itself; each is one step on the memory that the last one left.
"""

from __future__ import annotations

from msgspec.structs import replace

from consumer.admission import messages
from consumer.admission.endings import end_failed
from consumer.admission.fairness import advanced
from consumer.admission.look_ahead import warm_or_first
from consumer.admission.outlook import Outlook
from consumer.admission.placement import Place
from consumer.admission.quota import Account
from consumer.admission.rules import Rules
from consumer.admission.state import Decision, Effects, OpenRequest, PartitionState
from schemas.errors import Code, EaselError, ErrorType

__all__ = ["back_in_turn", "dispatch", "forget", "wake"]

_FORGOTTEN_AT_ONCE = 200


def dispatch(state: PartitionState, rules: Rules, outlook: Outlook, at_ms: int) -> Effects | None:
    """Whose turn it is leaves for a pool of the fleet that has room for it; None when nobody can."""
    for pool in state.turns.pools():
        name = state.next_turn(pool, lambda tenant: _may_run_more(state, rules, tenant))
        if name is not None and outlook.has_room(next(state.line(pool, name))):
            return _send(state, rules, *_choose(state, outlook, pool, name), at_ms)
    return None


def _choose(state: PartitionState, outlook: Outlook, pool: str, tenant: str) -> tuple[OpenRequest, Place]:
    """Which of a tenant's requests leaves, and where it goes."""
    first = next(state.line(pool, tenant))
    worker = outlook.shortest(first)
    if worker is None:
        return first, outlook.place(first, None)
    chosen = warm_or_first(state.line(pool, tenant), worker.beat.models, worker.beat.capacity_milliunits)
    return chosen, outlook.place(chosen, worker)


def _send(state: PartitionState, rules: Rules, request: OpenRequest, place: Place, at_ms: int) -> Effects:
    name, pool = request.key.tenant, request.pool
    account, tenant = state.account(name), rules.directory.tenants.get(name)
    tag = account.turns.get(pool, 0)
    served = {**account.turns, pool: advanced(tag, request.work, tenant.weight if tenant else 1)}
    sent = replace(request, state="dispatched", attempt=request.attempt + 1, dispatched_ms=at_ms, worker=place.worker)
    return Effects(
        messages=[messages.job(rules, sent, place.partition, at_ms=at_ms)],
        accounts={name: replace(account, turns=served)},
        requests={request.key: sent},
        served=(pool, tag),
        decisions=[Decision("dispatched", "", request.key)],
    )


def wake(state: PartitionState, rules: Rules, at_ms: int) -> Effects | None:
    """What time alone brings about, one request at a time: a deadline that passed, then another attempt that is due."""
    late = state.overdue(at_ms)
    if late is not None:
        cause = EaselError(
            Code.DEADLINE_EXCEEDED, "its deadline passed while it waited", param="deadline", type=ErrorType.SERVER
        )
        return end_failed(state, late, cause.body(), rules, at_ms)
    again = state.due_to_retry(at_ms)
    if again is None:
        return None
    name = again.key.tenant
    return Effects(
        accounts={name: back_in_turn(state, state.account(name), again.pool)},
        requests={again.key: replace(again, retry_at_ms=None)},
        decisions=[Decision("queued_again", "", again.key)],
    )


def forget(state: PartitionState, at_ms: int) -> Effects:
    """Let go of what is remembered no longer, a few at a time: ended requests that no token can bring again, and
    cancels whose request never came."""
    return Effects(
        requests=dict.fromkeys(state.due_to_forget(at_ms, _FORGOTTEN_AT_ONCE)),
        early_cancels=dict.fromkeys(state.early_cancels.due(at_ms, _FORGOTTEN_AT_ONCE)),
    )


def back_in_turn(state: PartitionState, account: Account, pool: str) -> Account:
    """Who was away from a pool begins where the others are, without turns saved up."""
    if state.turns.waits(pool, account.tenant):
        return account
    return replace(account, turns={**account.turns, pool: max(account.turns.get(pool, 0), state.times.get(pool, 0))})


def _may_run_more(state: PartitionState, rules: Rules, name: str) -> bool:
    if name in rules.withdrawn:
        return False
    tenant = rules.directory.tenants.get(name)
    most = tenant.limits.running if tenant else None
    return most is None or state.in_flight.of_tenant[name] < most
