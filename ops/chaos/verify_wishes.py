"""Do the answers to cancels, deletes and dry runs fit what else was said of the request? Pure.

All that is said of a tenant lies in one partition: what comes first in it was decided first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ops.chaos.journal import Line, Sent
from ops.chaos.verify_answers import Place, askers_of
from ops.chaos.verify_facts import ENDS, Facts, Said, Violation

__all__ = ["check_wishes"]


def check_wishes(facts: Facts, journal: Mapping[int, Line]) -> Iterator[Violation]:
    """Every rule about them."""
    accepted: dict[tuple[str, str], Said] = {}
    ended: dict[tuple[str, str], Said] = {}
    for event in facts.results:
        if event.kind == "generation.accepted":
            accepted.setdefault(event.request, event)
        elif event.kind in ENDS:
            ended.setdefault(event.request, event)
    for event in facts.results:
        about = "/".join(event.request)
        came = _before(accepted, event)
        is_over = _before(ended, event)
        code = (event.content.get("error") or {}).get("code")
        match event.kind, code:
            case "generation.deleted", _ if not is_over:
                yield Violation("delete", about, "deleted before it had ended")
            case "generation.delete_refused", "not_ended" if is_over or not came:
                yield Violation("delete", about, f"said to be under way, and {'had ended' if is_over else 'was not'}")
            case "generation.delete_refused", "not_found" if came:
                yield Violation("delete", about, "said to be unknown, and was accepted before")
            case "generation.cancel_refused", _ if not is_over:
                yield Violation("cancel", about, "said to have ended, and had not")
            case "generation.cancel_accepted", _ if is_over:
                yield Violation("cancel", about, "to be canceled, and had ended")
    yield from _prices_hold(facts, askers_of(facts, journal), accepted, ended)


def _prices_hold(
    facts: Facts,
    askers: Mapping[Place, Sent],
    accepted: Mapping[tuple[str, str], Said],
    ended: Mapping[tuple[str, str], Said],
) -> Iterator[Violation]:
    """What a dry run said is what the request then cost: no price changes in a run, but for what is cached."""
    for event in facts.results:
        if event.kind != "generation.priced" or event.content["cached"]:
            continue
        then, end = accepted.get(event.request), ended.get(event.request)
        if then is None or then.answers is None or end is None or end.content.get("cached"):
            continue
        asker = askers.get(then.answers)
        if asker is None or asker.kind != "wanted":
            # Another content under the same id, which came in its place.
            continue
        said, cost = event.content["cost_milliunits"], then.content["cost_milliunits"]
        if said != cost:
            yield Violation("dry run", "/".join(event.request), f"priced {said} milli-units, and {cost} were held")


def _before(events: dict[tuple[str, str], Said], event: Said) -> bool:
    first = events.get(event.request)
    return first is not None and first.offset < event.offset
