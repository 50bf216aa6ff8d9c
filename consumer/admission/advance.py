"""What room and time bring about, without a record that asks for it: a turn, a deadline, another attempt, forgetting.

Pure, like the decision itself; each is one step on the memory that the last one left.
"""

from __future__ import annotations

from dataclasses import replace

from consumer.admission import messages
from consumer.admission.endings import end_failed
from consumer.admission.fairness import advanced
from consumer.admission.quota import Account
from consumer.admission.rules import Rules
from consumer.admission.state import Decision, Effects, PartitionState
from schemas.errors import Code, EaselError, ErrorType

__all__ = ["back_in_turn", "dispatch", "forget", "wake"]

_FORGOTTEN_AT_ONCE = 200


def dispatch(state: PartitionState, rules: Rules, at_ms: int) -> Effects | None:
    """Whose turn it is leaves for the fleet, while the window has room; None when nobody can."""
    if state.in_flight >= rules.window_jobs:
        return None
    request = state.next_turn(lambda tenant: _may_run_more(state, rules, tenant))
    if request is None:
        return None
    name = request.key.tenant
    account, tenant = state.account(name), rules.directory.tenants.get(name)
    sent = replace(request, state="dispatched", attempt=request.attempt + 1, dispatched_ms=at_ms)
    return Effects(
        messages=[messages.job(rules, sent, at_ms=at_ms)],
        accounts={name: replace(account, turn=advanced(account.turn, request.work, tenant.weight if tenant else 1))},
        requests={request.key: sent},
        turn=account.turn,
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
        accounts={name: back_in_turn(state, state.account(name))},
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


def back_in_turn(state: PartitionState, account: Account) -> Account:
    """Who was away begins where the others are, without turns saved up."""
    if state.waiting_of(account.tenant):
        return account
    return replace(account, turn=max(account.turn, state.turn))


def _may_run_more(state: PartitionState, rules: Rules, name: str) -> bool:
    if name in rules.withdrawn:
        return False
    tenant = rules.directory.tenants.get(name)
    most = tenant.limits.running if tenant else None
    return most is None or state.in_flight_of(name) < most
