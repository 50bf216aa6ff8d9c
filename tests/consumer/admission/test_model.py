"""The decision against a model that keeps everything, with generated histories.

The machine also forgets its memory at random and reads it back from what it wrote to the ledger.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule
from msgspec.structs import replace as changed

from schemas.requests import Priority
from tests.consumer.admission.machine import WORKERS, SideBySide
from tests.consumer.admission.model import (
    ATTEMPTS,
    EARLY_MS,
    HEARD_WITHIN_MS,
    LEASE_MS,
    LOOK_MS,
    TENANTS,
    WINDOW,
)
from tests.consumer.admission.world import (
    TOPICS,
    canceled,
    directory,
    failed,
    released,
    request_id,
    started,
    succeeded,
)

WORKER = st.sampled_from(WORKERS)
JOB = st.integers(0, WINDOW + 1)
BACK = st.sampled_from([0, 0, 1])


class Admission(SideBySide):
    @rule(seconds=st.sampled_from([0, 1, 2, 30, 43_200]), beat=st.booleans())
    def time_passes(self, seconds: int, beat: bool) -> None:
        self.world.now_ms += seconds * 1000
        if beat:
            self.beat()
        self.step()

    @rule(alive=st.sets(st.sampled_from(WORKERS)), share=st.sampled_from([0, 2, 1]))
    def another_fleet(self, alive: set[str], share: int) -> None:
        """Others live from now on, and name none, every other or all of the jobs that are out."""
        self.alive = alive
        out = [one.name for one in self.model.with_the_fleet()]
        self.named = set(out if share == 2 else out[::2] if share == 1 else [])
        self.beat()
        self.step()

    @rule(seconds=st.sampled_from([25, 14]))
    def quiet(self, seconds: int) -> None:
        """Nothing but heartbeats: what nobody names for a lease, and a look or two, does not stay as it is."""
        self.beat()
        self.step()
        before = [(one, one.attempt) for one in self.model.with_the_fleet() if one.name not in self.named]
        for _ in range(seconds):
            self.world.now_ms += 1000
            self.beat()
            self.step()
        left = [one for one, attempt in before if one.attempt == attempt and not one.end]
        if self.alive and seconds * 1000 > LEASE_MS + 2 * LOOK_MS:
            assert left == []
        if self.alive and seconds * 1000 > HEARD_WITHIN_MS + LOOK_MS + 1000:
            assert [one for one in left if len(one.lone) >= ATTEMPTS and one.lone[-1] not in self.alive] == []

    # requests and cancels

    @rule(
        who=st.sampled_from(TENANTS),
        images=st.integers(1, 4),
        reuse=st.integers(0, 6),
        prompt=st.sampled_from(["a red circle", "a blue square"]),
        priority=st.sampled_from(["low", "normal", "high"]),
        patience=st.sampled_from([None, None, None, None, 1, 40]),
        after=st.sampled_from([0, 0, 2, 10]),
    )
    def request(
        self, who: str, images: int, reuse: int, prompt: str, priority: Priority, patience: int | None, after: int
    ) -> None:
        self.time_passes(after, beat=True)
        now, names = self.world.now_ms, [one.name for one in self.model.asked]
        if reuse == 0 and names:
            name, priority, patience = names[-1], "normal", None
        elif reuse == 1 and self.model.wished:
            (who, name), patience = self.model.wished[-1], None
        else:
            self.numbers += 1
            name = request_id(self.numbers, now)
        deadline = None if patience is None else now + patience * 1000
        fields: dict[str, Any] = {"images": images, "prompt": prompt, "priority": priority}
        if deadline is not None:
            fields["deadline"] = datetime.fromtimestamp(deadline / 1000, tz=UTC).isoformat()
        record = self.world.request(who=who, event_id=name, **fields)
        self.model.wake(now)
        expected = self.model.request(who, name, images, prompt, priority, deadline, now)
        self.model.send(now)
        answers = [one for one in self.step(record) if one["kind"].endswith(("accepted", "rejected", "duplicate"))]
        assert [(one["kind"], (one.get("error") or {}).get("code")) for one in answers] == [expected]

    @rule(who=st.sampled_from(TENANTS), which=st.integers(0, 9), unheard=st.integers(0, 3))
    def cancel(self, who: str, which: int, unheard: int) -> None:
        """Of any request there is, be it one's own or not, or of one that is yet to come."""
        candidates = [*self.model.open(), *self.model.asked[-2:]]
        target = request_id(10_000 + unheard, self.world.now_ms)
        if which and candidates:
            one = candidates[which % len(candidates)]
            target, who = one.name, one.who if which > 1 else who
        known = self.model.remembered(who, target, self.world.now_ms)
        expected = ("cancel_accepted", "unknown")
        if known is None:
            self.model.wished.append((who, target))
            self.model.early[who, target] = self.world.now_ms + EARLY_MS
        elif known.end is not None:
            expected = ("cancel_refused", known.end)
        else:
            real = self.world.state.requests[who, target]  # type: ignore[index]
            expected = ("cancel_accepted", real.state)
            assert (real.state == "queued") == (not known.out)
            self.model.stop(known)
        self.model.send(self.world.now_ms)
        self.numbers += 1
        said = self.step(self.world.cancel(self.numbers, target, who=who))
        (answer,) = (one for one in said if one["kind"].startswith("generation.cancel_"))
        assert (answer["kind"].removeprefix("generation."), answer["state"]) == expected

    @rule(who=st.sampled_from(TENANTS), status=st.sampled_from(["active", "cancel", "active", "keep"]))
    def a_new_tenants_file(self, who: str, status: str) -> None:
        held = self.world.rules.directory
        if status == "active":
            self.model.suspended.pop(who, None)
        else:
            self.model.suspended[who] = status
        changed = {
            "status": "active" if status == "active" else "suspended",
            "when_suspended": "cancel" if status == "cancel" else "keep",
        }
        members = {**held.tenants, who: held.tenants[who].model_copy(update=changed)}
        new = directory(*members.values(), version=held.version + 1)
        self.world.rules = replace(self.world.rules, directory=new)
        self.step()

    # reports of the fleet

    @rule(which=JOB, worker=WORKER, back=BACK, pictures=st.integers(1, 4))
    def succeeds(self, which: int, worker: str, back: int, pictures: int) -> None:
        self.report(succeeded, which, worker, back, pictures=pictures)

    @rule(which=JOB, worker=WORKER, back=BACK, retryable=st.booleans())
    def fails(self, which: int, worker: str, back: int, retryable: bool) -> None:
        self.report(failed, which, worker, back, retryable=retryable)

    @rule(which=JOB, worker=WORKER, back=BACK, alone=st.booleans())
    def starts(self, which: int, worker: str, back: int, alone: bool) -> None:
        self.report(started, which, worker, back, alone=alone)

    @rule(which=JOB, worker=WORKER, back=BACK)
    def releases(self, which: int, worker: str, back: int) -> None:
        self.report(released, which, worker, back)

    @rule(which=JOB, worker=WORKER, back=BACK, steps_run=st.integers(0, 5))
    def stops(self, which: int, worker: str, back: int, steps_run: int) -> None:
        self.report(canceled, which, worker, back, steps_run=steps_run)

    @rule(which=JOB, workers=st.lists(WORKER, min_size=1, max_size=4))
    def takes_workers_along(self, which: int, workers: list[str]) -> None:
        """One after the other they start it alone, and are not heard of again."""
        for worker in workers:
            self.report(started, which, worker, 0, alone=True)

    @rule(which=st.integers(0, WINDOW - 1), worker=WORKER, seconds=st.sampled_from([0, 4, 8]))
    def is_tried_again(self, which: int, worker: str, seconds: int) -> None:
        """It fails, its wait is over, and, where there is room, it is with the fleet again."""
        self.report(failed, which, worker, 0, retryable=True)
        self.time_passes(seconds, beat=True)

    @rule(which=st.integers(0, WINDOW - 1), worker=WORKER)
    def comes_late(self, which: int, worker: str) -> None:
        """The first success of an attempt that was given up."""
        if any(one.attempt > 1 for one in self.model.with_the_fleet()):
            self.report(succeeded, which, worker, 1, pictures=4)

    # faults

    @rule(data=st.data())
    def delivered_again(self, data: st.DataObject) -> None:
        """A batch that was decided is read once more, as after a crash of the group: nothing follows from it."""
        record = self.world.request(who=TENANTS[0], event_id=request_id(999_999, self.world.now_ms))
        self.world._ends[TOPICS.requests] -= 1
        old = changed(record, offset=data.draw(st.integers(0, max(0, record.offset - 1))))
        if record.offset:
            before = len(self.world.state.requests)
            self.step(old)
            assert len(self.world.state.requests) == before

    @rule()
    def crash(self) -> None:
        """All memory is lost, and read back from the ledger: but for the leases it is the same."""
        if not self.world.ledger:
            return
        before = self.world.state
        self.world.restart()
        after = self.world.state
        assert after.requests == before.requests
        assert after.accounts == before.accounts
        assert after.early_cancels.content() == before.early_cancels.content()
        for what in ("times", "next_offsets", "sequence", "tenants_version", "queued", "waiting_work"):
            assert getattr(after, what) == getattr(before, what)
        for what in ("requests", "jobs", "work", "of_tenant", "tenants", "sent_to"):
            assert getattr(after.in_flight, what) == getattr(before.in_flight, what)
        for who in TENANTS:
            assert after.waiting_of(who) == before.waiting_of(who)
            assert set(map(str, after.open_of(who))) == set(map(str, before.open_of(who)))
        for job in self.model.with_the_fleet():
            job.word = self.world.now_ms


Admission.TestCase.settings = settings(
    max_examples=300, stateful_step_count=100, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAdmission = Admission.TestCase
