"""Is each record answered once for each time that it is there, by an answer that names it? Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping

from ops.chaos.journal import CANCELS, DELETES, DRY_RUNS, FORGED, Line, Sent
from ops.chaos.verify_facts import Facts, Said, Violation, number_of

__all__ = ["ANSWERS", "CANCEL_ANSWERS", "Place", "askers_of", "check_answers"]

ANSWERS = {
    "generation.accepted": "accepted",
    "generation.rejected": "rejected",
    "generation.duplicate": "duplicates",
}
CANCEL_ANSWERS = frozenset({"generation.cancel_accepted", "generation.cancel_refused"})
_DELETE_ANSWERS = frozenset({"generation.deleted", "generation.delete_refused"})
_PRICED = "generation.priced"
# A delete that is done is answered by what a worker reports, and names no record.
_NAMES_ITS_RECORD = frozenset({*ANSWERS, *CANCEL_ANSWERS, "generation.delete_refused", _PRICED})

Place = tuple[str, int, int]
"""Where a record lies: input, partition and offset."""


def check_answers(facts: Facts, journal: Mapping[int, Line]) -> Iterator[Violation]:
    """Every rule about answers."""
    yield from _answered_once(facts, journal)
    yield from _answers_are_to_records(facts)


def askers_of(facts: Facts, journal: Mapping[int, Line]) -> dict[Place, Sent]:
    """What the driver sent, by the places at which it lies."""
    return {
        (name, record.partition, record.offset): line.sent
        for name, records in (("requests", facts.requests), ("rerouted", facts.rerouted))
        for record in records
        if (line := journal.get(number_of(record) or 0))
    }


def _answered_once(facts: Facts, journal: Mapping[int, Line]) -> Iterator[Violation]:
    """As many answers as records: to each request, dry run, cancel and delete one of its own kind."""
    askers = askers_of(facts, journal)
    asked: Counter[tuple[str, str, str]] = Counter()
    for record in facts.requests:
        line = journal.get(number_of(record) or 0)
        if line is not None and line.sent.kind not in FORGED:
            asked[_what(line.sent), line.sent.tenant, line.sent.event_id] += 1
    answered: Counter[tuple[str, str, str]] = Counter()
    accepted: Counter[tuple[str, str]] = Counter()
    for event in facts.results:
        asker = askers.get(event.answers) if event.answers else None
        if event.kind in CANCEL_ANSWERS:
            answered["a cancel", event.tenant, str(event.content["cancel_id"])] += 1
        elif event.kind in _DELETE_ANSWERS:
            answered["a delete", event.tenant, str(event.content["delete_id"])] += 1
        elif event.kind == _PRICED or (event.kind in ANSWERS and asker is not None and asker.kind in DRY_RUNS):
            answered["a dry run", *event.request] += 1
        elif event.kind in ANSWERS:
            answered["a request", *event.request] += 1
        accepted[event.request] += event.kind == "generation.accepted"
    for what, tenant, name in asked.keys() | answered.keys():
        wanted, got = asked[what, tenant, name], answered[what, tenant, name]
        if wanted != got:
            told = f"{what} that was sent {wanted} times has {got} answers"
            yield Violation("missing" if got < wanted else "doubled", f"{tenant}/{name}", told, abs(wanted - got))
    for request, times in accepted.items():
        if times > 1:
            yield Violation("doubled", "/".join(request), f"accepted {times} times", times - 1)
    for event in facts.results:
        if event.kind == "generation.duplicate":
            of = (event.tenant, str(event.content.get("of") or event.request_id))
            if not accepted[of]:
                yield Violation("doubled", _of(event), "called a duplicate, of a request that was never accepted")


def _answers_are_to_records(facts: Facts) -> Iterator[Violation]:
    """Each answer names the record that it answers: one that is there, with this content, and with no other answer."""
    bodies = {
        (name, record.partition, record.offset): hashlib.sha256(record.value or b"").hexdigest()
        for name, records in (("requests", facts.requests), ("rerouted", facts.rerouted))
        for record in records
    }
    answered = set[Place]()
    for event in facts.results:
        if event.kind not in _NAMES_ITS_RECORD:
            continue
        if event.note is None or event.answers is None:
            yield Violation("foreign", _of(event), f"{event.kind} does not say what it is the answer to")
            continue
        where = "{} {}:{}".format(*event.answers)
        if event.answers in answered:
            yield Violation("doubled", _of(event), f"{event.kind} is a second answer to the record at {where}")
        answered.add(event.answers)
        if bodies.get(event.answers) != event.note.body_sha256:
            yield Violation("foreign", _of(event), f"{event.kind} answers another content than that at {where}")


def _what(sent: Sent) -> str:
    if sent.kind in CANCELS:
        return "a cancel"
    if sent.kind in DELETES:
        return "a delete"
    return "a dry run" if sent.kind in DRY_RUNS else "a request"


def _of(event: Said) -> str:
    return "/".join(event.request)
