"""Services with a bug in them, to show that the verifier would find it: ``python -m tests.chaos.planted NAME``."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from consumer.admission import decide
from consumer.admission.__main__ import main as admission
from consumer.admission.checks import Examined, examine
from consumer.admission.endings import end_succeeded
from consumer.admission.fleet_view import Fleet
from consumer.admission.intake import Submission
from consumer.admission.keys import RequestKey
from consumer.admission.outcomes import outcome
from consumer.admission.pricing import priced
from consumer.admission.rules import Rules
from consumer.admission.state import Effects, EndedRequest, OpenRequest, PartitionState
from consumer.generation.__main__ import main as worker
from consumer.generation.jobs import Job
from consumer.generation.outputs import Outputs
from consumer.generation.reports import Reports
from schemas.errors import EaselError
from schemas.jobs import JobSucceeded, Outcome
from schemas.outputs import Manifest
from schemas.requests import GenerationRequest
from transport.records import Ack, Outgoing, TopicPartition
from transport.transactions import FencedProducer


def commit_before_send() -> None:
    """How far was read is committed first, and then, in a transaction of its own, what follows from it."""
    commit = FencedProducer.commit

    async def planted(
        self: FencedProducer,
        messages: Sequence[Outgoing],
        offsets: Mapping[TopicPartition, int],
        group: str,
        **options: Any,
    ) -> list[Ack]:
        progress = [message for message in messages if message.key == b"__offsets"]
        rest = [message for message in messages if message.key != b"__offsets"]
        acks = await commit(self, progress, offsets, group)
        # As long as a broker takes that is busy.
        await asyncio.sleep(0.05)
        return acks + await commit(self, rest, {}, group, **options)

    FencedProducer.commit = planted  # type: ignore[method-assign]


def no_fence() -> None:
    """Each start takes a transactional id of its own: an older owner goes on committing."""
    start = FencedProducer.start

    async def planted(self: FencedProducer, **options: Any) -> None:
        self.transactional_id += f"-{uuid.uuid4().hex}"
        await start(self, **options)

    FencedProducer.start = planted  # type: ignore[method-assign]


def settle_twice() -> None:
    """A success that is reported again settles again. A worker that ``repeats`` makes that frequent."""
    settled: dict[RequestKey, OpenRequest] = {}

    def planted(state: PartitionState, event: Outcome, key: RequestKey, rules: Rules, at_ms: int) -> Effects:
        request = state.requests.get(key)
        if isinstance(event, JobSucceeded) and isinstance(request, OpenRequest):
            settled[key] = request
        if isinstance(event, JobSucceeded) and isinstance(request, EndedRequest) and key in settled:
            return end_succeeded(state, settled[key], event, rules, at_ms)
        return outcome(state, event, key, rules, at_ms)

    decide.outcome = planted  # type: ignore[attr-defined]


def dry_run_holds() -> None:
    """A dry run sets aside what it priced, and never gives it back."""

    def planted(
        state: PartitionState, submission: Submission, request: GenerationRequest, rules: Rules, fleet: Fleet
    ) -> Effects:
        effects = priced(state, submission, request, rules, fleet)
        try:
            examined = examine(state, submission, request, rules, fleet)
        except EaselError:
            return effects
        if examined.refusal is None:
            effects.accounts[submission.key.tenant] = examined.account
        return effects

    decide.priced = planted  # type: ignore[attr-defined]


def delete_keeps() -> None:
    """A delete is reported, and what it was about stays in the store."""

    async def planted(self: Outputs, tenant: str, request_id: str) -> int:
        return 1

    Outputs.remove = planted  # type: ignore[method-assign]


def forgets_suspension() -> None:
    """Whoever is suspended is served all the same."""

    def planted(*given: Any) -> Examined:
        state, submission, request, rules, fleet = given
        served = replace(submission, tenant=submission.tenant.model_copy(update={"status": "active"}))
        return examine(state, served, request, rules, fleet)

    decide.examine = planted  # type: ignore[attr-defined, assignment]


def repeats() -> None:
    """No bug: each success is reported twice, as by a worker that was lost before it committed how far it was."""
    succeeded = Reports.succeeded

    async def planted(self: Reports, job: Job, manifest: Manifest) -> None:
        await succeeded(self, job, manifest)
        await succeeded(self, job, manifest)

    Reports.succeeded = planted  # type: ignore[method-assign]


PLANTED = {
    "commit_before_send": (commit_before_send, admission),
    "no_fence": (no_fence, admission),
    "settle_twice": (settle_twice, admission),
    "dry_run_holds": (dry_run_holds, admission),
    "forgets_suspension": (forgets_suspension, admission),
    "delete_keeps": (delete_keeps, worker),
    "repeats": (repeats, worker),
}

if __name__ == "__main__":
    plant, main = PLANTED[sys.argv[1]]
    plant()
    main()
