"""What silence brings about: a job that nobody has is sent again, one that took its workers along ends."""

from __future__ import annotations

from msgspec.structs import replace

from consumer.admission import messages
from consumer.admission.endings import end_canceled, end_without_pictures
from consumer.admission.fleet_view import Fleet
from consumer.admission.outcomes import POISON, attempts_of
from consumer.admission.outlook import Outlook
from consumer.admission.rules import Rules
from consumer.admission.state import Decision, Effects, OpenRequest, PartitionState
from schemas.fleet import HEARD_WITHIN_MS

__all__ = ["lapse"]

_LOOKS_A_LEASE = 4


def lapse(state: PartitionState, rules: Rules, outlook: Outlook, at_ms: int) -> Effects | None:
    """What follows for the next job whose lease has run out; None when there is none."""
    look_ms = at_ms + min(rules.lease_ms // _LOOKS_A_LEASE, HEARD_WITHIN_MS // 2)
    fleet = outlook.fleet
    while (key := state.leases.due(at_ms)) is not None:
        request = state.requests[key]
        state.leases.look_again(key, look_ms)
        if not isinstance(request, OpenRequest):
            continue
        if not outlook.workers(request.pool):
            state.leases.renew(key)
            continue
        heard_ms = state.leases.heard(key, fleet.named_ms(*key, request.attempt), at_ms)
        if _took_its_worker(request, rules, fleet, heard_ms, at_ms):
            return end_without_pictures(state, request, POISON, rules, at_ms)
        if heard_ms + rules.lease_ms <= at_ms:
            return _lapsed(state, request, rules, outlook, at_ms)
    return None


def _took_its_worker(request: OpenRequest, rules: Rules, fleet: Fleet, heard_ms: int, at_ms: int) -> bool:
    """Whether the last start that it may have was one alone, and its worker is gone."""
    if request.lone_starts < attempts_of(request, rules) or heard_ms + HEARD_WITHIN_MS > at_ms:
        return False
    last = [start for start in request.starts if start.alone][-1]
    return not fleet.is_alive(last.worker, at_ms)


def _lapsed(state: PartitionState, request: OpenRequest, rules: Rules, outlook: Outlook, at_ms: int) -> Effects:
    if request.cancel_requested:
        return end_canceled(state.account(request.key.tenant), request, rules, at_ms)
    if request.lone_starts >= attempts_of(request, rules):
        return end_without_pictures(state, request, POISON, rules, at_ms)
    place = outlook.place(request, outlook.shortest(request))
    again = replace(
        request,
        state="dispatched",
        attempt=request.attempt + 1,
        alone=bool(request.starts),
        dispatched_ms=at_ms,
        worker=place.worker,
    )
    note = messages.control(rules, again.key, min_attempt=again.attempt, alone=again.alone, at_ms=at_ms)
    return Effects(
        messages=[messages.job(rules, again, place.partition, at_ms=at_ms), note],
        requests={again.key: again},
        decisions=[Decision("sent_again", "", again.key)],
    )
