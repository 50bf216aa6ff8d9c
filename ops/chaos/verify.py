"""The verdict: reads what topics, store and journal say, and nothing else; knows nothing of how admission works."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ops.chaos.journal import CANCELS, DELETES, DRY_RUNS, read_journal
from ops.chaos.verify_answers import ANSWERS, CANCEL_ANSWERS, askers_of, check_answers
from ops.chaos.verify_books import check_books
from ops.chaos.verify_facts import ENDS, Facts, Violation, number_of, read_facts
from ops.chaos.verify_requests import check_requests
from ops.chaos.verify_rules import check_rules
from ops.chaos.verify_wishes import check_wishes
from ops.chaos.verify_work import check_outputs, check_work
from schemas.connection import KafkaSettings, StoreSettings

__all__ = ["Verdict", "Violation", "verify"]


@dataclass(slots=True)
class Verdict:
    """What happened, counted, and everything that must not be."""

    facts: Facts = field(repr=False)
    sent: int = 0
    """Requests that the broker has, each as often as it has it, without cancels, deletes and dry runs."""
    cancels: int = 0
    deletes: int = 0
    dry_runs: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    """accepted, rejected, duplicates, dead_lettered, cancels_answered, terminal; succeeded, failed, canceled; deleted;
    changes (of the rules)."""
    violations: list[Violation] = field(default_factory=list)

    def wrong(self, rule: str) -> int:
        """How much is wrong by a rule."""
        return sum(one.count for one in self.violations if one.rule == rule)


async def verify(
    kafka: KafkaSettings, store: StoreSettings, journal: Path, *, pools: Iterable[str], own_topics: Iterable[str]
) -> Verdict:
    """Check everything. Nothing of the installation may run any more.

    Raises ``TransportError`` when topics can't be read to their ends.
    """
    story = read_journal(journal)
    lines = story.lines
    facts = await read_facts(kafka, pools, own_topics)
    verdict = Verdict(facts)
    for record in facts.requests:
        line = lines.get(number_of(record) or 0)
        kind = "" if line is None else line.sent.kind
        verdict.cancels += kind in CANCELS
        verdict.deletes += kind in DELETES
        verdict.dry_runs += kind in DRY_RUNS
        verdict.sent += kind not in CANCELS | DELETES | DRY_RUNS
    askers = askers_of(facts, lines)
    for event in facts.results:
        asker = askers.get(event.answers) if event.answers else None
        if event.kind in ANSWERS and (asker is None or asker.kind not in DRY_RUNS):
            verdict.counts[ANSWERS[event.kind]] += 1
        elif event.kind in ENDS:
            verdict.counts["terminal"] += 1
            verdict.counts[event.kind.removeprefix("generation.")] += 1
        elif event.kind in CANCEL_ANSWERS:
            verdict.counts["cancels_answered"] += 1
        elif event.kind == "generation.deleted":
            verdict.counts["deleted"] += 1
    verdict.counts["changes"] = max(0, len(story.rules) - 1)
    verdict.counts["dead_lettered"] = len(facts.dead_letters)
    verdict.violations += [*check_requests(facts, lines), *check_answers(facts, lines), *check_wishes(facts, lines)]
    verdict.violations += [*check_books(facts), *check_rules(facts, story.rules), *check_work(facts)]
    verdict.violations += [found async for found in check_outputs(facts, store)]
    answered = sum(verdict.counts[name] for name in (*ANSWERS.values(), "dead_lettered"))
    if verdict.sent != answered:
        found = f"{verdict.sent} were sent; accepted, rejected, duplicates and dead letters are {answered}"
        verdict.violations.append(Violation("sum", "all", found))
    return verdict
