"""The verifier finds each thing that must not be, and nothing where all is well."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from ops.chaos.journal import Acked, Journal, RulesWritten, Sent, TenantRules, read_journal
from ops.chaos.verify_answers import check_answers
from ops.chaos.verify_books import check_books
from ops.chaos.verify_facts import Said, Violation
from ops.chaos.verify_requests import check_requests
from ops.chaos.verify_rules import check_rules
from ops.chaos.verify_wishes import check_wishes
from ops.chaos.verify_work import check_outputs, check_work
from schemas.connection import StoreSettings
from schemas.outputs import request_prefix
from tests.chaos.facts import COST, DAY, Story
from transport.objects import ObjectStore

EMPTY = dict.fromkeys(("held", "settled", "refunded", "outstanding"), 0)


def found(story: Story) -> list[Violation]:
    return [
        *check_requests(story.facts, story.journal),
        *check_answers(story.facts, story.journal),
        *check_wishes(story.facts, story.journal),
        *check_books(story.facts),
        *check_rules(story.facts, story.rules),
        *check_work(story.facts),
    ]


def test_a_true_story_has_nothing_wrong() -> None:
    assert found(Story()) == []


def lost_record(story: Story) -> None:
    del story.facts.requests[1]


def foreign_record(story: Story) -> None:
    del story.journal[3]


def two_decisions(story: Story) -> None:
    story.say("results", "generation.accepted", "a", to=0, cost_milliunits=COST)


def no_answer(story: Story) -> None:
    story.drop("results", "generation.rejected", "c")


def second_answer_to_a_record(story: Story) -> None:
    [first, second] = [event for event in story.facts.results if event.kind == "generation.accepted"]
    story.facts.results[story.facts.results.index(second)] = replace(second, note=first.note)


def answer_to_another_content(story: Story) -> None:
    story.facts.requests[0] = structs.replace(story.facts.requests[0], value=b"other")


def answer_to_nothing(story: Story) -> None:
    answer = one(story, "generation.rejected")
    story.facts.results[story.facts.results.index(answer)] = replace(answer, note=None)


def one(story: Story, kind: str, name: str | None = None) -> Said:
    return next(event for event in story.facts.results if event.kind == kind and name in (None, event.request_id))


def put(story: Story, of_kind: str, **change: Any) -> None:
    """Let the first event of this kind be another."""
    event = one(story, of_kind)
    story.facts.results[story.facts.results.index(event)] = replace(event, **change)


def two_events_of_one_id(story: Story) -> None:
    first, second = story.facts.results[:2]
    story.facts.results[1] = replace(second, event_id=first.event_id)


def accepted_each_time(story: Story) -> None:
    [again] = [event for event in story.facts.results if event.kind == "generation.duplicate"]
    story.facts.results[story.facts.results.index(again)] = replace(
        again, kind="generation.accepted", content={"cost_milliunits": 0}
    )


def ended_before_accepted(story: Story) -> None:
    put(story, "generation.accepted", offset=99)


def settled_in_two_parts(story: Story) -> None:
    story.change("usage", "usage.settled", "a", milliunits=COST - 1)
    story.say("usage", "usage.settled", "a", milliunits=1, day={**EMPTY, "period": DAY}, month={**EMPTY, "period": DAY})


def no_answer_to_a_cancel(story: Story) -> None:
    story.drop("results", "generation.cancel_refused", "a")


def a_duplicate_of_nothing(story: Story) -> None:
    story.change("results", "generation.duplicate", "a", of="z")


def no_end(story: Story) -> None:
    story.drop("results", "generation.failed", "b")


def dry_run_accepted(story: Story) -> None:
    del story.journal[2]


def dry_run_holds(story: Story) -> None:
    balance = {**EMPTY, "held": COST, "outstanding": COST}
    story.say(
        "usage", "usage.held", "p", milliunits=COST, day={**balance, "period": DAY}, month={**balance, "period": DAY}
    )


def dry_run_binds_its_id(story: Story) -> None:
    story.facts.ledger.requests["acme", "p"] = {"state": "queued"}


def dry_run_unanswered(story: Story) -> None:
    story.drop("results", "generation.priced", "b")


def dry_run_lies(story: Story) -> None:
    story.change("results", "generation.priced", "b", cost_milliunits=COST + 1)


def delete_unanswered(story: Story) -> None:
    story.drop("results", "generation.deleted", "b")


def delete_answered_twice(story: Story) -> None:
    story.say("results", "generation.deleted", "b", delete_id="x")


def deleted_while_it_ran(story: Story) -> None:
    put(story, "generation.deleted", offset=0)


def delete_of_an_ended_one_refused(story: Story) -> None:
    put(
        story,
        "generation.deleted",
        kind="generation.delete_refused",
        content={"delete_id": "x", "error": {"code": "not_ended"}},
    )


def delete_of_a_known_one_refused(story: Story) -> None:
    put(
        story,
        "generation.deleted",
        kind="generation.delete_refused",
        content={"delete_id": "x", "error": {"code": "not_found"}},
    )


def cancel_refused_too_early(story: Story) -> None:
    put(story, "generation.cancel_refused", offset=0)


def cancel_accepted_too_late(story: Story) -> None:
    put(story, "generation.cancel_refused", kind="generation.cancel_accepted")


def accepted_while_suspended(story: Story) -> None:
    story.rules[1] = {"acme": TenantRules(suspended=True, day_milliunits=2 * COST)}


def refused_as_suspended(story: Story) -> None:
    story.change("results", "generation.rejected", "c", error={"code": "tenant_suspended"})


def rules_that_nobody_wrote(story: Story) -> None:
    story.rules[2] = story.rules.pop(1)


def older_rules_again(story: Story) -> None:
    story.rules[2] = story.rules[1]
    event = one(story, "generation.accepted")
    assert event.note is not None
    put(story, "generation.accepted", note=event.note.model_copy(update={"tenants_version": 2}))


def above_its_budget(story: Story) -> None:
    story.rules[1] = {"acme": TenantRules(suspended=False, day_milliunits=COST)}
    for event in story.facts.usage:
        event.content["day"]["limit"] = COST


def under_another_limit(story: Story) -> None:
    story.rules[1] = {"acme": TenantRules(suspended=False, day_milliunits=COST)}


def two_ends(story: Story) -> None:
    story.say("results", "generation.failed", "a", cost_milliunits=0, refunded_milliunits=0, error={"code": "-"})


def an_end_of_nothing(story: Story) -> None:
    story.say("results", "generation.canceled", "c", cost_milliunits=0, refunded_milliunits=0)


def said_twice(story: Story) -> None:
    story.facts.results.append(story.facts.results[0])


def invalid_accepted(story: Story) -> None:
    story.journal[1].sent = story.journal[1].sent.model_copy(update={"kind": "invalid"})


def two_under_one_key(story: Story) -> None:
    for number in (1, 2):
        story.journal[number].sent = story.journal[number].sent.model_copy(update={"key": "order-1"})


def poison_succeeded(story: Story) -> None:
    story.journal[1].sent = story.journal[1].sent.model_copy(update={"kind": "poison"})


def poison_called_otherwise(story: Story) -> None:
    story.journal[2].sent = story.journal[2].sent.model_copy(update={"kind": "poison"})


def mate_of_poison_blamed(story: Story) -> None:
    story.change("results", "generation.failed", "b", error={"code": "poison"})


def forgery_lost(story: Story) -> None:
    story.facts.dead_letters.clear()


def good_one_in_dead_letters(story: Story) -> None:
    story.letter(0)


def own_topic_lacks_one(story: Story) -> None:
    story.facts.own_results["acme"] = story.facts.results[1:]


def settled_other_than_told(story: Story) -> None:
    story.change("results", "generation.succeeded", "a", cost_milliunits=COST - 1)


def not_refunded(story: Story) -> None:
    story.drop("usage", "usage.refunded", "b")


def balance_wrong(story: Story) -> None:
    for event in story.facts.usage[-1:]:
        event.content["day"]["outstanding"] = 1


def ledger_account_wrong(story: Story) -> None:
    story.facts.ledger.accounts["acme"]["days"][DAY]["settled"] += 1


def ledger_open(story: Story) -> None:
    story.facts.ledger.requests["acme", "b"] = {"state": "running"}


def ledger_lacks_one(story: Story) -> None:
    del story.facts.ledger.requests["acme", "a"]


def not_read_to_the_end(story: Story) -> None:
    story.facts.ends["requests"][0] = 10


def job_without_hold(story: Story) -> None:
    story.say("jobs", "job.assigned", "c", attempt=1, cost_milliunits=COST)


def job_at_another_price(story: Story) -> None:
    story.change("jobs", "job.assigned", "a", cost_milliunits=COST + 1)


def job_twice(story: Story) -> None:
    story.say("jobs", "job.assigned", "a", attempt=1, cost_milliunits=COST)


def job_after_the_end(story: Story) -> None:
    story.say("jobs", "job.assigned", "a", attempt=2, cost_milliunits=COST, at_ms=60_000)
    story.say("outcomes", "job.succeeded", "a", attempt=2)


def job_forgotten(story: Story) -> None:
    story.drop("outcomes", "job.failed", "b")


def test_another_content_in_place_of_the_one_that_was_priced_may_cost_something_else() -> None:
    story = Story()
    dry_run_lies(story)
    story.journal[2].sent = story.journal[2].sent.model_copy(update={"kind": "conflict"})
    assert found(story) == []


@pytest.mark.parametrize(
    ("falsify", "words"),
    [
        (answer_to_nothing, "does not say what it is the answer to"),
        (two_events_of_one_id, "stands on results twice"),
        (accepted_each_time, "accepted 2 times"),
        (ended_before_accepted, "ended before it was accepted"),
        (settled_in_two_parts, "settled 2 times"),
        (not_refunded, "neither settled nor refunded"),
    ],
)
def test_it_says_what_it_found(falsify: Callable[[Story], None], words: str) -> None:
    story = Story()
    falsify(story)
    assert any(words in str(violation) for violation in found(story))


@pytest.mark.parametrize(
    ("falsify", "rule"),
    [
        (lost_record, "missing"),
        (foreign_record, "foreign"),
        (two_decisions, "doubled"),
        (no_answer, "missing"),
        (second_answer_to_a_record, "doubled"),
        (answer_to_another_content, "foreign"),
        (no_answer_to_a_cancel, "missing"),
        (a_duplicate_of_nothing, "doubled"),
        (no_end, "missing"),
        (two_ends, "doubled"),
        (an_end_of_nothing, "doubled"),
        (said_twice, "doubled"),
        (invalid_accepted, "doubled"),
        (two_under_one_key, "doubled"),
        (poison_succeeded, "blame"),
        (poison_called_otherwise, "blame"),
        (mate_of_poison_blamed, "blame"),
        (forgery_lost, "missing"),
        (good_one_in_dead_letters, "dead letter"),
        (own_topic_lacks_one, "missing"),
        (settled_other_than_told, "units"),
        (not_refunded, "units"),
        (balance_wrong, "units"),
        (ledger_account_wrong, "units"),
        (ledger_open, "ledger"),
        (ledger_lacks_one, "ledger"),
        (not_read_to_the_end, "missing"),
        (job_without_hold, "job"),
        (job_at_another_price, "job"),
        (job_twice, "job"),
        (job_after_the_end, "job"),
        (job_forgotten, "job"),
        (dry_run_accepted, "dry run"),
        (dry_run_holds, "units"),
        (dry_run_binds_its_id, "ledger"),
        (dry_run_unanswered, "missing"),
        (dry_run_lies, "dry run"),
        (delete_unanswered, "missing"),
        (delete_answered_twice, "doubled"),
        (deleted_while_it_ran, "delete"),
        (delete_of_an_ended_one_refused, "delete"),
        (delete_of_a_known_one_refused, "delete"),
        (cancel_refused_too_early, "cancel"),
        (cancel_accepted_too_late, "cancel"),
        (accepted_while_suspended, "rules"),
        (refused_as_suspended, "rules"),
        (rules_that_nobody_wrote, "rules"),
        (older_rules_again, "rules"),
        (above_its_budget, "units"),
        (under_another_limit, "rules"),
    ],
)
def test_a_false_one_is_found(falsify: Callable[[Story], None], rule: str) -> None:
    story = Story()
    falsify(story)
    assert rule in {violation.rule for violation in found(story)}


def test_a_job_that_was_called_off_may_stay_without_an_end() -> None:
    story = Story()
    job_forgotten(story)
    story.say("control", "control", "b", min_attempt=2)
    assert found(story) == []


async def test_outputs_are_looked_at(store: StoreSettings) -> None:
    story, content = Story(), b"a picture"
    there = {"key": "outputs/there", "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    story.change("results", "generation.succeeded", "a", outputs=[there])
    async with ObjectStore(store) as objects:
        await objects.put("outputs/there", content, content_type="image/png")
    assert [one async for one in check_outputs(story.facts, store)] == []
    for wrong in ({**there, "key": "outputs/gone"}, {**there, "sha256": "0" * 64}, {**there, "bytes": 1}):
        story.change("results", "generation.succeeded", "a", outputs=[wrong])
        assert [one.rule async for one in check_outputs(story.facts, store)] == ["output"]
    story.change("results", "generation.succeeded", "a", outputs=[])
    assert [one.rule async for one in check_outputs(story.facts, store)] == ["output"]


async def test_what_was_deleted_is_gone(store: StoreSettings) -> None:
    story, content = Story(), b"a picture"
    key = f"{request_prefix('acme', 'b')}0-x.png"
    # An answer from the earlier result, given before that was deleted.
    picture = {"key": key, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    story.change("results", "generation.succeeded", "a", outputs=[picture])
    assert [str(found) async for found in check_outputs(story.facts, store)] == []
    async with ObjectStore(store) as objects:
        await objects.put(key, content, content_type="image/png")
        [left] = [found async for found in check_outputs(story.facts, store)]
        assert left.rule == "output" and "was deleted, and" in left.found and key in left.found
        await objects.delete(key)
    put(story, "generation.succeeded", offset=99)
    [given] = [found async for found in check_outputs(story.facts, store)]
    assert given.rule == "output" and "which had been deleted" in given.found


def test_it_knows_nothing_of_what_it_judges() -> None:
    code = "import sys, ops.chaos.verify; print([name for name in sys.modules if name.split('.')[0] == 'consumer'])"
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert answer.stdout.strip() == "[]"


def test_a_journal_is_read_as_it_was_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    first, second = (Sent(n=n, kind="valid", tenant="acme", event_id=str(n), partition=0) for n in (1, 2))
    rules = {"acme": TenantRules(suspended=True, day_milliunits=None)}
    for line in (first, second, Acked(n=1, partition=0, offset=7), RulesWritten(version=3, tenants=rules)):
        journal.note(line)
    # Not closed: a driver that is killed has still said what it sent.
    found = read_journal(tmp_path / "journal.jsonl")
    lines = found.lines
    assert found.rules == {3: rules}
    assert lines[1].sent == first
    assert lines[1].acked is not None and lines[1].acked.offset == 7
    assert lines[2].acked is None
    journal.close()
