"""A delete: a worker removes what the store holds of a request that has ended, and each who asked is told.

The request itself stays known, so that its id can't run again; only its pictures go. Any worker can do it, of whatever
pool. What nobody reports is sent again once somebody lives who could have done it.
"""

from __future__ import annotations

from msgspec.structs import replace

from consumer.admission import messages
from consumer.admission.deletions import MOST_OF_A_REQUEST, MOST_OF_A_TENANT, Deletion, Wanted
from consumer.admission.fleet_view import Fleet
from consumer.admission.intake import Submission
from consumer.admission.keys import RequestKey
from consumer.admission.placement import jobs_partition
from consumer.admission.rules import Rules
from consumer.admission.state import Decision, Effects, EndedRequest, OpenRequest, PartitionState
from schemas.errors import Code, EaselError, ErrorType
from schemas.events import Deleted, DeleteRefused
from schemas.ids import DAY_MS, time_of
from schemas.jobs import JobDeleted
from schemas.requests import DeleteRequest

__all__ = ["delete", "deleted", "send_delete_again"]

_NO_ATTEMPT = 1_000_000
"""Above every attempt: a copy of its job that is still on the way must not put the pictures back."""


def delete(state: PartitionState, submission: Submission, wish: DeleteRequest, rules: Rules, fleet: Fleet) -> Effects:
    """The answer to a delete where it is refused; else the work goes out, and the answer follows its report.

    Deleting takes no token and is allowed to a suspended tenant. The target is a request of the tenant that signed.
    """
    target = RequestKey(submission.key.tenant, wish.request_id)
    known = state.requests.get(target)
    out = state.deletions.get(target)
    refusal = _refusal(state, target, known, out, rules)
    if refusal is not None and not (out and out.asked_by(submission.key.request_id)):
        return _refused(submission, target, known, refusal, rules)
    asked = Wanted(submission.key.request_id, submission.number, submission.envelope.traceparent)
    if out is not None:
        wanted = out.wanted if out.asked_by(asked.delete_id) else (*out.wanted, asked)
        return Effects(
            deletions={target: replace(out, wanted=wanted)}, decisions=[Decision("delete_joined", "", target)]
        )
    effects = _sent(target, Deletion((asked,), 1, state.clock_ms), rules, fleet)
    if isinstance(known, EndedRequest):
        note = messages.control(rules, target, min_attempt=_NO_ATTEMPT, at_ms=state.clock_ms)
        effects.messages.insert(0, note)
        if known.result is not None:
            effects.requests[target] = replace(known, result=None)
    effects.decisions.append(Decision("delete_assigned", "", target))
    return effects


def deleted(state: PartitionState, event: JobDeleted, key: RequestKey, rules: Rules, at_ms: int) -> Effects:
    """Everyone who asked is told. Any attempt's report will do: what it found there is gone."""
    out = state.deletions.get(key)
    if out is None or out.delete_id != event.delete_id:
        return Effects(decisions=[Decision("dropped_outcome", "unknown" if out is None else "stale", key)])
    effects = Effects(deletions={key: None}, decisions=[Decision("deleted", "", key)])
    for asked in out.wanted:
        answer = Deleted(tenant=key.tenant, request_id=key.request_id, delete_id=asked.delete_id, objects=event.objects)
        effects.messages += messages.result(
            rules, answer, number=asked.number, at_ms=at_ms, traceparent=asked.traceparent
        )
    return effects


def send_delete_again(state: PartitionState, rules: Rules, at_ms: int, fleet: Fleet) -> Effects | None:
    """A delete that nobody has reported for the time of a lease, while somebody lived who could do it."""
    late = state.deletions.sent_before(at_ms - rules.lease_ms)
    if late is None or not any(fleet.workers(pool, at_ms) for pool in rules.catalog.pools()):
        return None
    key, out = late
    effects = _sent(key, replace(out, attempt=out.attempt + 1, sent_ms=at_ms), rules, fleet)
    effects.decisions.append(Decision("delete_sent_again", "", key))
    return effects


def _refusal(
    state: PartitionState,
    target: RequestKey,
    known: OpenRequest | EndedRequest | None,
    out: Deletion | None,
    rules: Rules,
) -> EaselError | None:
    if isinstance(known, OpenRequest):
        return EaselError(
            Code.NOT_ENDED, f"the request has not ended ({known.state}): cancel it first", param="request_id"
        )
    if known is None and _would_be_known(target.request_id, state.clock_ms, rules):
        return EaselError(
            Code.NOT_FOUND, "there is no such request of yours", param="request_id", type=ErrorType.NOT_FOUND
        )
    if out is not None and len(out.wanted) >= MOST_OF_A_REQUEST:
        return _too_many(f"{MOST_OF_A_REQUEST} deletes of this request are under way")
    if out is None and state.deletions.of(target.tenant) >= MOST_OF_A_TENANT:
        return _too_many(f"{MOST_OF_A_TENANT} deletes of {target.tenant!r} are under way")
    return None


def _would_be_known(request_id: str, at_ms: int, rules: Rules) -> bool:
    # Accepted at most a day before the time in its id, and remembered from its end on. Of an older one nobody here
    # knows any more whether it was: the store may still hold it.
    return at_ms < time_of(request_id) - DAY_MS + rules.remembered_ms


def _too_many(what: str) -> EaselError:
    return EaselError(Code.QUEUE_FULL, f"{what} already: wait for their answers", type=ErrorType.RATE_LIMIT)


def _refused(
    submission: Submission,
    target: RequestKey,
    known: OpenRequest | EndedRequest | None,
    refusal: EaselError,
    rules: Rules,
) -> Effects:
    answer = DeleteRefused(
        tenant=target.tenant,
        request_id=target.request_id,
        delete_id=submission.key.request_id,
        state="unknown" if known is None else known.state,
        error=refusal.body(),
    )
    return Effects(
        messages=messages.answer(rules, answer, submission),
        decisions=[Decision("delete_refused", refusal.code, target)],
    )


def _sent(key: RequestKey, deletion: Deletion, rules: Rules, fleet: Fleet) -> Effects:
    pool, partition = _place(deletion, rules, fleet)
    job = messages.delete_job(rules, key, deletion, pool=pool, partition=partition)
    return Effects(messages=[job], deletions={key: deletion})


def _place(deletion: Deletion, rules: Rules, fleet: Fleet) -> tuple[str, int]:
    """The pool and the partition of its jobs topic: of the workers that live another one at each attempt."""
    pools = rules.catalog.pools()
    places = [
        (pool, sorted(heard.beat.partitions))
        for pool in pools
        for heard in fleet.workers(pool, deletion.sent_ms)
        if heard.beat.partitions and not heard.beat.draining
    ]
    if not places:
        served = (pool for pool in pools if fleet.workers(pool, deletion.sent_ms))
        return next(served, pools[0]), jobs_partition(rules.partition, deletion.attempt, rules.jobs_partitions)
    pool, theirs = places[(rules.partition + deletion.attempt) % len(places)]
    return pool, theirs[rules.partition % len(theirs)]
