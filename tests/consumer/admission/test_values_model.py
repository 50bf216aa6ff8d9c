"""Idempotency keys, answers from earlier results, dry runs and deletes, against a model that keeps everything.

The model is a list of what was accepted and one of the deletes; each question is answered by going through all of it.
What it doesn't ask, whose turn it is and what becomes of attempts, ``test_model.py`` does.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from consumer.admission.keys import RequestKey
from consumer.admission.state import OpenRequest
from schemas.ids import time_of
from schemas.jobs import JobDeleted
from schemas.outputs import manifest_key
from schemas.requests import DeleteRequest
from tests.consumer.admission.values_machine import ValuesMachine
from tests.consumer.admission.values_model import (
    DAY_MILLIUNITS,
    FLEETS,
    HOUR_MS,
    LEASE_MS,
    REMEMBERED_MS,
    TENANTS,
    Asked,
    Body,
    Out,
)
from tests.consumer.admission.world import failed, request_id, succeeded


class Values(ValuesMachine):
    @rule(
        who=st.sampled_from(TENANTS),
        key=st.sampled_from([None, None, None, "a", "b", "c", "d"]),
        images=st.integers(1, 2),
        prompt=st.sampled_from(["a red circle", "a blue square"]),
        seed=st.sampled_from([None, 1, 1, 2]),
        priority=st.sampled_from(["normal", "high"]),
        again=st.sampled_from(["new", "new", "new", "id", "id and body", "key and body", "body", "body"]),
        dry_run=st.sampled_from([False, False, True]),
        at_once=st.booleans(),
    )
    def request(
        self,
        who: str,
        key: str | None,
        images: int,
        prompt: str,
        seed: int | None,
        priority: str,
        again: str,
        dry_run: bool,
        at_once: bool,
    ) -> None:
        body: Body = (images, prompt, seed, priority)
        recent = [one for one in self.model.remembered(who) if self.is_young(one.name)]
        last = recent[-1] if recent and again != "new" else None
        name = last.name if last and again in ("id", "id and body") else self.new_id()
        if last and again in ("id and body", "key and body"):
            key = last.key
        if last and again.endswith("body"):
            body = (*last.body[:3], priority) if again == "body" else last.body
            images, prompt, seed, priority = body
        fields: dict[str, Any] = {"images": images, "prompt": prompt, "priority": priority}
        fields |= {"seed": seed} if seed is not None else {}
        fields |= {"dry_run": True} if dry_run else {}
        said = self.step(self.world.request(who=who, event_id=name, idempotency_key=key, **fields))
        answer = next(m for m in said if m["sent_to"] == "results")
        code = (answer.get("error") or {}).get("code")
        kind = answer["kind"].removeprefix("generation.")

        known = self.model.known(who, name)
        first = known or (None if dry_run else self.model.under(who, key))
        if first is not None:
            same = first.body == body and not dry_run
            assert (kind, answer["of"]) == ("duplicate", None if known else first.name)
            assert code == (None if same else "id_conflict" if known else "idempotency_conflict")
            assert first.end is None or answer["state"] == first.end
            return
        hit = self.model.hit(who, body)
        cost = images * 250 if hit else images * 1000
        acceptable = self.model.used(who, self.model.today()) + cost <= DAY_MILLIUNITS
        refusal = None if acceptable else "budget_day_exceeded"
        if dry_run:
            assert (kind, code, answer["acceptable"]) == ("priced", refusal, acceptable)
            assert (answer["cost_milliunits"], answer["cached"]) == (cost, hit is not None)
            return
        assert (kind, code) == ("accepted" if acceptable else "rejected", refusal)
        if not acceptable:
            return
        one = Asked(who, name, key, body, self.model.today(), cost)
        self.model.asked.append(one)
        ends = [m for m in said if m["kind"] == "generation.succeeded"]
        assert [(m["cached"], m["manifest"], m["cost_milliunits"]) for m in ends] == (
            [(True, manifest_key(who, hit.name), cost)] if hit else []
        )
        if hit:
            one.settled, one.end, one.ended_ms = cost, "succeeded", self.model.now_ms
        elif at_once:
            self.report(RequestKey(who, name), images, "r1")

    @rule(
        which=st.integers(0, 2), delivered=st.sampled_from([0, 1, 2, 2]), revision=st.sampled_from(["r1", "r1", "r2"])
    )
    def end(self, which: int, delivered: int, revision: str) -> None:
        out = sorted(
            (one.sequence, one)
            for one in self.world.state.requests.values()
            if isinstance(one, OpenRequest) and one.state != "queued"
        )
        if which >= len(out):
            return
        self.report(out[which][1].key, delivered, revision)

    def report(self, key: RequestKey, delivered: int, revision: str) -> None:
        """Its newest attempt ends, if it is with the fleet: with so many pictures, or none."""
        request, asked, (who, name) = self.world.state.requests[key], self.model.known(*key), key
        if not isinstance(request, OpenRequest) or request.state == "queued" or asked is None:
            return
        delivered = min(delivered, asked.body[0])
        if delivered:
            report = succeeded(name, delivered, attempt=request.attempt, who=who)
            self.step(self.world.outcome(report.model_copy(update={"weights_revision": revision})))
            asked.end, asked.settled = "succeeded", 1000 * delivered
            whole = delivered == asked.body[0] and asked.body[2] is not None
            if whole and self.model.made(who, asked.body, revision) is None:
                asked.revision = revision
        else:
            self.step(self.world.outcome(failed(name, attempt=request.attempt, who=who)))
            asked.end = "failed"
        asked.ended_ms = self.model.now_ms

    @rule(who=st.sampled_from(TENANTS), which=st.integers(-1, 8), repeat=st.booleans())
    def delete(self, who: str, which: int, repeat: bool) -> None:
        mine = [one for one in self.model.asked if one.who == who]
        unknown = request_id(10_000, self.world.now_ms - (49 * HOUR_MS if which % 2 else HOUR_MS))
        target = mine[which].name if 0 <= which < len(mine) else unknown
        out = next((one for one in self.model.out if (one.who, one.target) == (who, target)), None)
        name = out.wanted[-1] if out and repeat and self.is_young(out.wanted[-1]) else self.new_id()
        body = DeleteRequest(request_id=target).model_dump_json().encode()
        said = self.step(self.world.request(who=who, event_id=name, kind=DeleteRequest.TYPE, body=body))
        answer: dict[str, Any] = next((m for m in said if m["kind"] != "control"), {"kind": ""})
        known = self.model.known(who, target)
        if known is not None and known.end is None:
            assert (answer["kind"], answer["error"]["code"]) == ("generation.delete_refused", "not_ended")
        elif known is None and self.model.now_ms < time_of(target) - 24 * HOUR_MS + REMEMBERED_MS:
            assert (answer["kind"], answer["error"]["code"]) == ("generation.delete_refused", "not_found")
        elif out is not None:
            assert said == []
            out.wanted += [] if name in out.wanted else [name]
        else:
            assert (answer["kind"], answer["attempt"], answer["delete_id"]) == ("job.delete_assigned", 1, name)
            self.model.out.append(Out(who, target, [name], self.model.now_ms))
            if known is not None:
                known.revision = None

    @rule(which=st.integers(0, 3), attempt=st.integers(1, 3), stale=st.integers(0, 3))
    def deleted(self, which: int, attempt: int, stale: int) -> None:
        if which >= len(self.model.out):
            return
        out = self.model.out[which]
        report = JobDeleted(
            tenant=out.who,
            request_id=out.target,
            attempt=attempt,
            worker="w",
            delete_id=out.wanted[0] if stale else request_id(77_777),
            objects=3,
        )
        said = self.step(self.world.outcome(report))
        told = [(m["kind"], m["delete_id"], m["objects"]) for m in said]
        assert told == ([("generation.deleted", name, 3) for name in out.wanted] if stale else [])
        if stale:
            self.model.out.remove(out)

    @rule(fleet=st.sampled_from(["one", "one", "one", *sorted(FLEETS)]))
    def the_fleet_changes(self, fleet: str) -> None:
        self.model.fleet = fleet
        self.look_around()

    @rule(minutes=st.sampled_from([0.1, 0.5, 1, 60, 60 * 13, 60 * 40]))
    def time_passes(self, minutes: float) -> None:
        self.world.now_ms += int(minutes * 60_000)
        self.model.now_ms = self.world.now_ms
        self.look_around()

    def look_around(self) -> None:
        """What is out for the time of a lease is sent again, if anybody lives."""
        said = self.step()
        again = [(m["tenant"], m["request_id"]) for m in said if m["kind"] == "job.delete_assigned"]
        lives = bool(FLEETS[self.model.fleet])
        due = [one for one in self.model.out if lives and one.sent_ms + LEASE_MS <= self.model.now_ms]
        assert sorted(again) == sorted((one.who, one.target) for one in due)
        for one in due:
            one.sent_ms = self.model.now_ms


Values.TestCase.settings = settings(
    max_examples=300, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
)
TestValues = Values.TestCase
