"""What the fleet reports → how a request goes on or ends.

The first success ends a request, whatever its attempt; a failure counts only for the newest attempt; what comes after
the end is dropped. A start that never ends is what a killer leaves behind: from the second on the job runs alone, and
only starts alone count against it, so that neither its batch mates nor a worker that was taken away are blamed.
"""

from __future__ import annotations

import hashlib

from msgspec.structs import replace

from consumer.admission import messages
from consumer.admission.endings import end_canceled, end_failed, end_succeeded, end_without_pictures
from consumer.admission.rules import Rules
from consumer.admission.state import Decision, Effects, EndedRequest, OpenRequest, PartitionState, RequestKey, Start
from schemas.errors import Code, ErrorBody, ErrorType
from schemas.jobs import JobCanceled, JobFailed, JobReleased, JobStarted, JobSucceeded, Outcome

__all__ = ["POISON", "attempts_of", "backoff_ms", "outcome"]

POISON = ErrorBody(
    message="each time that it ran alone its worker was lost: it is not tried again",
    type=ErrorType.SERVER,
    code=Code.POISON,
)

_BACKOFF_MOST_S = 300


def outcome(state: PartitionState, event: Outcome, key: RequestKey, rules: Rules, at_ms: int) -> Effects:
    """What follows from a report about an attempt."""
    request = state.requests.get(key)
    if request is None:
        return _dropped("unknown", key)
    if isinstance(request, EndedRequest):
        return _dropped("ended", key)
    if isinstance(event, JobSucceeded):
        return end_succeeded(state, request, event, rules, at_ms)
    if event.attempt != request.attempt or request.state == "queued":
        # Queued: this attempt has failed already, on another worker that had it too.
        return _stale(request, event)
    if isinstance(event, JobStarted):
        return _started(state, request, event, rules, at_ms)
    if request.cancel_requested:
        # It stopped, in whatever way: it is not tried again.
        return end_canceled(state.account(key.tenant), request, rules, at_ms, reported=event)
    if isinstance(event, JobCanceled):
        return _dropped("not_canceled", key)
    if isinstance(event, JobReleased):
        return _changed(replace(_without_start(request, event), state="dispatched"), "released")
    if isinstance(event, JobFailed):
        return _failed(state, request, event, rules, at_ms)
    raise TypeError(f"no rule for a report of the kind {type(event).__name__}")


def attempts_of(request: OpenRequest, rules: Rules) -> int:
    """How often its model may fail, or take its worker along, before that is the end."""
    card = rules.catalog.models.get(request.parameters.model)
    return card.attempts if card else 1


def backoff_ms(request_id: str, failures: int) -> int:
    """How long to wait after the n-th failure: 2, 4, 8 … s, less up to half of it, so that not all come back at once.

    Drawn from the id: a decision made again after a crash waits as long.
    """
    drawn = hashlib.sha256(f"{request_id}/{failures}".encode()).digest()[0]
    seconds = min(1 << failures, _BACKOFF_MOST_S)
    return seconds * 1000 * (512 - drawn) // 512


def _started(state: PartitionState, request: OpenRequest, event: JobStarted, rules: Rules, at_ms: int) -> Effects:
    if event.start and Start.of(event) in request.starts:
        # A worker says it again until it hears the broker's answer: it has begun it once all the same.
        return _dropped("repeated", request.key)
    if event.alone and request.lone_starts >= attempts_of(request, rules):
        return end_without_pictures(state, request, POISON, rules, at_ms)
    running = replace(request, state="running", starts=(*request.starts, Start.of(event)))
    effects = _changed(running, "started")
    if request.starts and not request.alone and not request.cancel_requested:
        effects.requests[request.key] = replace(running, alone=True)
        note = messages.control(rules, request.key, min_attempt=request.attempt, alone=True, at_ms=at_ms)
        effects.messages.append(note)
    return effects


def _failed(state: PartitionState, request: OpenRequest, event: JobFailed, rules: Rules, at_ms: int) -> Effects:
    failures = request.failures + 1
    if not event.retryable or event.error.code == Code.POISON or failures >= attempts_of(request, rules):
        return end_failed(state, request, event.error, rules, at_ms, reported=event)
    # This start has ended; those of lost workers have not, and go on counting.
    left = _without_start(request, event)
    retry_at_ms = at_ms + backoff_ms(request.key.request_id, failures)
    again = replace(left, state="queued", failures=failures, alone=bool(left.starts), retry_at_ms=retry_at_ms)
    return _changed(again, "retried")


def _stale(request: OpenRequest, event: Outcome) -> Effects:
    """Too late to decide anything; but a start that has ended after all took no worker along."""
    effects = _dropped("stale", request.key)
    if not isinstance(event, JobStarted) and (left := _without_start(request, event)) is not request:
        effects.requests[request.key] = left
    return effects


def _without_start(request: OpenRequest, event: Outcome) -> OpenRequest:
    """The request without the last start that this worker reported of this attempt: that one has ended."""
    for index in range(len(request.starts) - 1, -1, -1):
        start = request.starts[index]
        if (start.worker, start.attempt) == (event.worker, event.attempt):
            left = request.starts[:index] + request.starts[index + 1 :]
            return replace(request, starts=left, alone=request.alone and bool(left))
    return request


def _changed(request: OpenRequest, what: str) -> Effects:
    return Effects(requests={request.key: request}, decisions=[Decision(what, "", request.key)])


def _dropped(reason: str, key: RequestKey) -> Effects:
    return Effects(decisions=[Decision("dropped_outcome", reason, key)])
