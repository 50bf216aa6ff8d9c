"""The verifier finds each thing that must not be, and nothing where all is well."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ops.chaos.journal import Acked, Journal, RulesWritten, Sent, TenantRules, read_journal
from ops.chaos.verify_answers import check_answers
from ops.chaos.verify_books import check_books
from ops.chaos.verify_facts import Violation
from ops.chaos.verify_requests import check_requests
from ops.chaos.verify_rules import check_rules
from ops.chaos.verify_wishes import check_wishes
from ops.chaos.verify_work import check_outputs, check_work
from schemas.connection import StoreSettings
from schemas.outputs import request_prefix
from tests.chaos import falsified
from tests.chaos.facts import Story
from transport.objects import ObjectStore


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


def test_another_content_in_place_of_the_one_that_was_priced_may_cost_something_else() -> None:
    story = Story()
    falsified.dry_run_lies(story)
    story.journal[2].sent = story.journal[2].sent.model_copy(update={"kind": "conflict"})
    assert found(story) == []


@pytest.mark.parametrize(
    ("falsify", "words"),
    [
        (falsified.answer_to_nothing, "does not say what it is the answer to"),
        (falsified.two_events_of_one_id, "stands on results twice"),
        (falsified.accepted_each_time, "accepted 2 times"),
        (falsified.ended_before_accepted, "ended before it was accepted"),
        (falsified.settled_in_two_parts, "settled 2 times"),
        (falsified.not_refunded, "neither settled nor refunded"),
    ],
)
def test_it_says_what_it_found(falsify: Callable[[Story], None], words: str) -> None:
    story = Story()
    falsify(story)
    assert any(words in str(violation) for violation in found(story))


@pytest.mark.parametrize(
    ("falsify", "rule"),
    [
        (falsified.lost_record, "missing"),
        (falsified.foreign_record, "foreign"),
        (falsified.two_decisions, "doubled"),
        (falsified.no_answer, "missing"),
        (falsified.second_answer_to_a_record, "doubled"),
        (falsified.answer_to_another_content, "foreign"),
        (falsified.no_answer_to_a_cancel, "missing"),
        (falsified.a_duplicate_of_nothing, "doubled"),
        (falsified.no_end, "missing"),
        (falsified.two_ends, "doubled"),
        (falsified.an_end_of_nothing, "doubled"),
        (falsified.said_twice, "doubled"),
        (falsified.invalid_accepted, "doubled"),
        (falsified.two_under_one_key, "doubled"),
        (falsified.poison_succeeded, "blame"),
        (falsified.poison_called_otherwise, "blame"),
        (falsified.mate_of_poison_blamed, "blame"),
        (falsified.forgery_lost, "missing"),
        (falsified.good_one_in_dead_letters, "dead letter"),
        (falsified.own_topic_lacks_one, "missing"),
        (falsified.settled_other_than_told, "units"),
        (falsified.not_refunded, "units"),
        (falsified.balance_wrong, "units"),
        (falsified.ledger_account_wrong, "units"),
        (falsified.ledger_open, "ledger"),
        (falsified.ledger_lacks_one, "ledger"),
        (falsified.not_read_to_the_end, "missing"),
        (falsified.job_without_hold, "job"),
        (falsified.job_at_another_price, "job"),
        (falsified.job_twice, "job"),
        (falsified.job_after_the_end, "job"),
        (falsified.job_forgotten, "job"),
        (falsified.dry_run_accepted, "dry run"),
        (falsified.dry_run_holds, "units"),
        (falsified.dry_run_binds_its_id, "ledger"),
        (falsified.dry_run_unanswered, "missing"),
        (falsified.dry_run_lies, "dry run"),
        (falsified.delete_unanswered, "missing"),
        (falsified.delete_answered_twice, "doubled"),
        (falsified.deleted_while_it_ran, "delete"),
        (falsified.delete_of_an_ended_one_refused, "delete"),
        (falsified.delete_of_a_known_one_refused, "delete"),
        (falsified.cancel_refused_too_early, "cancel"),
        (falsified.cancel_accepted_too_late, "cancel"),
        (falsified.accepted_while_suspended, "rules"),
        (falsified.refused_as_suspended, "rules"),
        (falsified.rules_that_nobody_wrote, "rules"),
        (falsified.older_rules_again, "rules"),
        (falsified.above_its_budget, "units"),
        (falsified.under_another_limit, "rules"),
    ],
)
def test_a_false_one_is_found(falsify: Callable[[Story], None], rule: str) -> None:
    story = Story()
    falsify(story)
    assert rule in {violation.rule for violation in found(story)}


def test_a_job_that_was_called_off_may_stay_without_an_end() -> None:
    story = Story()
    falsified.job_forgotten(story)
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
    falsified.put(story, "generation.succeeded", offset=99)
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
