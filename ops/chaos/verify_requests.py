"""Is each request there that was sent, and has it ended once if it was accepted? Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from ops.chaos.journal import DRY_RUNS, FORGED, Line, Sent
from ops.chaos.verify_facts import ENDS, Facts, Said, Violation, number_of

__all__ = ["check_requests"]

_NEVER_ACCEPTED = frozenset({"invalid", "too_late"})


def check_requests(facts: Facts, journal: Mapping[int, Line]) -> Iterator[Violation]:
    """Every rule about requests and their ends."""
    yield from _what_was_acked_is_there(facts, journal)
    yield from _said_once(facts)
    yield from _forged_are_dead_letters(facts, journal)
    yield from _ended_once(facts)
    yield from _as_their_kind_demands(facts, journal)
    yield from _own_topics_say_the_same(facts)


def _what_was_acked_is_there(facts: Facts, journal: Mapping[int, Line]) -> Iterator[Violation]:
    there = {(record.partition, record.offset): number_of(record) for record in facts.requests}
    for number, line in journal.items():
        if line.acked is not None and there.get((line.acked.partition, line.acked.offset)) != number:
            place = f"{line.acked.partition}:{line.acked.offset}"
            yield Violation("missing", _about(line.sent), f"acknowledged at {place}, and not there")
    for (partition, offset), written in there.items():
        if written is None or written not in journal:
            yield Violation("foreign", f"requests {partition}:{offset}", "nobody has sent it")


def _said_once(facts: Facts) -> Iterator[Violation]:
    for topic, events in (("results", facts.results), ("usage", facts.usage), ("jobs", facts.jobs)):
        seen: dict[str, Said] = {}
        for event in events:
            if first := seen.get(event.event_id):
                places = f"{first.partition}:{first.offset} and {event.partition}:{event.offset}"
                yield Violation("doubled", _of(event), f"{event.kind} stands on {topic} twice, at {places}")
            seen[event.event_id] = event


def _forged_are_dead_letters(facts: Facts, journal: Mapping[int, Line]) -> Iterator[Violation]:
    forged = {
        (record.partition, record.offset): line.sent
        for record in facts.requests
        if (line := journal.get(number_of(record) or 0)) and line.sent.kind in FORGED
    }
    letters: Counter[tuple[int, int]] = Counter()
    for letter in facts.dead_letters:
        place = (letter.partition, letter.offset)
        if not letter.topic.endswith(".requests") or place not in forged:
            where = f"{letter.topic} {letter.partition}:{letter.offset}"
            yield Violation("dead letter", where, f"{letter.cause.code}, though nobody has forged it")
        else:
            letters[place] += 1
    for place, sent in forged.items():
        if letters[place] != 1:
            rule = "missing" if not letters[place] else "doubled"
            yield Violation(rule, _about(sent), f"a forged request is {letters[place]} dead letters")


def _ended_once(facts: Facts) -> Iterator[Violation]:
    accepted = {event.request: event for event in facts.results if event.kind == "generation.accepted"}
    ends: defaultdict[tuple[str, str], list[Said]] = defaultdict(list)
    for event in facts.results:
        if event.kind in ENDS:
            ends[event.request].append(event)
    for request, event in accepted.items():
        if request not in ends:
            yield Violation("missing", "/".join(request), "accepted, and never ended")
        elif (end := ends[request][0]).partition != event.partition or end.offset < event.offset:
            yield Violation("doubled", "/".join(request), "ended before it was accepted")
    for request, ended in ends.items():
        if request not in accepted:
            yield Violation("doubled", "/".join(request), f"{ended[0].kind}, and never accepted")
        if len(ended) > 1:
            kinds = ", ".join(one.kind for one in ended)
            yield Violation("doubled", "/".join(request), f"{len(ended)} terminal events: {kinds}", len(ended) - 1)


def _as_their_kind_demands(facts: Facts, journal: Mapping[int, Line]) -> Iterator[Violation]:
    kinds: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    by_key: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for line in journal.values():
        sent = line.sent
        kinds[sent.tenant, sent.event_id].add(sent.kind)
        if sent.key is not None:
            by_key[sent.tenant, sent.key].add(sent.event_id)
    accepted = {event.request for event in facts.results if event.kind == "generation.accepted"}
    for request in accepted:
        if kinds[request] & _NEVER_ACCEPTED:
            yield Violation("doubled", "/".join(request), f"{', '.join(kinds[request])}, and accepted all the same")
        elif kinds[request] <= DRY_RUNS:
            yield Violation("dry run", "/".join(request), "asked for its price alone, and accepted")
    for (tenant, key), names in by_key.items():
        bound = [name for name in names if (tenant, name) in accepted and "conflict" not in kinds[tenant, name]]
        if len(bound) > 1:
            yield Violation("doubled", f"{tenant}, key {key}", f"accepted as {', '.join(bound)}", len(bound) - 1)
    for event in facts.results:
        if "conflict" in kinds[event.request]:
            # Where the first was refused, the other content under its id may have been the one that was accepted.
            continue
        is_poison = "poison" in kinds[event.request]
        if event.kind == "generation.succeeded" and is_poison:
            yield Violation("blame", _of(event), "succeeded, though it ends every engine")
        elif event.kind == "generation.failed" and is_poison != (event.content["error"]["code"] == "poison"):
            sent_as = ", ".join(sorted(kinds[event.request]))
            yield Violation("blame", _of(event), f"{sent_as}, failed with {event.content['error']['code']}")


def _own_topics_say_the_same(facts: Facts) -> Iterator[Violation]:
    for tenant, own in facts.own_results.items():
        shared = Counter(event.event_id for event in facts.results if event.tenant == tenant)
        said = Counter(event.event_id for event in own)
        for rule, ids in (("missing", shared - said), ("doubled", said - shared)):
            for event_id in ids:
                yield Violation(rule, f"{tenant}, event {event_id}", "its own topic and the shared one differ")


def _about(sent: Sent) -> str:
    return f"{sent.tenant}/{sent.event_id} ({sent.kind}, number {sent.n})"


def _of(event: Said) -> str:
    return f"{event.tenant}/{event.request_id}"
