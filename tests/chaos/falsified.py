"""One lie in the story for each rule that the verifier knows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from msgspec import structs

from ops.chaos.journal import TenantRules
from ops.chaos.verify_facts import Said
from tests.chaos.facts import COST, DAY, Story

EMPTY = dict.fromkeys(("held", "settled", "refunded", "outstanding"), 0)


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
