"""The demo's judge: content with a run that went as planned, and with no other."""

from __future__ import annotations

import base64
import hashlib

import pytest
from msgspec.structs import replace

from ops.cli.accounts import Accounts
from ops.demo.observer import Observer
from ops.demo.plan import TENANTS, Planned, requests_of
from ops.demo.verdict import Numbers, count, problems_of_usage, problems_with_outcomes
from schemas.connection import KafkaSettings
from schemas.envelope import Envelope
from schemas.errors import Code, ErrorBody, ErrorType
from schemas.events import (
    Accepted,
    Balance,
    DeadLetter,
    Duplicate,
    Event,
    Rejected,
    Succeeded,
    UsageHeld,
    UsageSettled,
)
from schemas.ids import event_id, new_id
from schemas.outputs import Output
from transport.records import Record

COST = 211


def record(topic: str, event: Event, number: int = 0) -> Record:
    envelope = Envelope(
        id=event_id(event.tenant, event.request_id, event.TYPE, number),
        type=event.TYPE,
        source="easel",
        subject=event.request_id,
        data=event.model_dump_json().encode(),
    )
    return Record(f"easel.{topic}", 0, 0, 0, None, envelope.data, envelope.headers())


def error(code: str) -> ErrorBody:
    return ErrorBody(message="no", type=ErrorType.INVALID_REQUEST, code=Code(code))


def dead_letter(request_id: str, code: str) -> Record:
    letter = DeadLetter(
        cause=error(code),
        stage="admission",
        topic="easel.requests",
        partition=0,
        offset=0,
        appended_ms=0,
        key_base64=None,
        value_base64=None,
        value_bytes=0,
        value_sha256=hashlib.sha256(b"").hexdigest(),
        headers=[("ce_id", base64.b64encode(request_id.encode()).decode())],
    )
    return Record("easel.dead-letters", 0, 0, 0, None, letter.model_dump_json().encode(), ())


class Run:
    """What the topics hold after a run as planned; a test takes away or adds what it likes before it judges."""

    def __init__(self) -> None:
        self.observer = Observer(KafkaSettings())
        self.results: list[Record] = []
        self.usage: list[Record] = []
        for tenant in TENANTS:
            self._held, self._settled = 0, 0
            for index, planned in enumerate(requests_of(tenant.id)):
                known = None if planned.repeats is None else self.observer.id_of(tenant.id, planned.repeats)
                id_ = known or new_id()
                self.observer.sent(tenant.id, index, id_)
                self._happen(planned, id_)

    def _happen(self, planned: Planned, id_: str) -> None:
        tenant = planned.tenant
        if planned.repeats is not None:
            self.results.append(record("results", Duplicate(tenant=tenant, request_id=id_, state="queued")))
        elif planned.forged:
            self.results.append(dead_letter(id_, planned.ends))
        elif planned.ends != "succeeded":
            self.results.append(record("results", Rejected(tenant=tenant, request_id=id_, error=error(planned.ends))))
        else:
            self.results += [record("results", accepted(tenant, id_)), record("results", succeeded(planned, id_))]
            self._held += COST
            self.usage.append(record("usage", self._entry(UsageHeld, tenant, id_)))
            self._settled += COST
            self.usage.append(record("usage", self._entry(UsageSettled, tenant, id_)))

    def _entry(self, shape: type[UsageHeld | UsageSettled], tenant: str, id_: str) -> UsageHeld | UsageSettled:
        day, month = (
            Balance(
                period=period,
                held=self._held,
                settled=self._settled,
                refunded=0,
                outstanding=self._held - self._settled,
            )
            for period in ("2026-11-21", "2026-11")
        )
        return shape(tenant=tenant, request_id=id_, milliunits=COST, model="m", day=day, month=month)

    def judge(self) -> tuple[list[str], list[str], Numbers]:
        """Problems with outcomes, problems of usage, and the numbers."""
        accounts = Accounts()
        accounts.add(self.usage)
        self.observer.take(self.results)
        usage = list(problems_of_usage(self.observer, accounts))
        return list(problems_with_outcomes(self.observer)), usage, count(self.observer, usage_balanced=True, seconds=1)


def accepted(tenant: str, id_: str) -> Accepted:
    return Accepted(tenant=tenant, request_id=id_, model="m", cost_milliunits=COST, position=0, seed=1)


def succeeded(planned: Planned, id_: str, cost: int = COST) -> Succeeded:
    output = Output(index=0, key="k", sha256="0", bytes=1, media_type="image/png", width=1, height=1, seed=1)
    return Succeeded(
        tenant=planned.tenant,
        request_id=id_,
        attempt=1,
        model="m",
        weights_revision="w",
        outputs=[output] * planned.data["images"],
        manifest="m",
        cost_milliunits=cost,
        refunded_milliunits=0,
        waited_ms=0,
        engine_ms=0,
    )


@pytest.fixture
def run() -> Run:
    return Run()


def of_type(run: Run, shape: type[Event]) -> list[int]:
    kinds = [dict(r.headers).get("ce_type") for r in run.results]
    return [index for index, kind in enumerate(kinds) if kind == shape.TYPE.encode()]


def test_a_run_as_planned(run: Run) -> None:
    outcomes, usage, numbers = run.judge()
    assert (outcomes, usage) == ([], [])
    assert numbers == Numbers(24, 20, 2, 1, 1, 20, 0, 27, True, 1)
    assert run.observer.pending() == []
    assert run.observer.done(TENANTS[0].id) == 8.0


@pytest.mark.parametrize("shape", [Accepted, Succeeded, Duplicate, Rejected])
def test_an_event_that_is_missing(run: Run, shape: type[Event]) -> None:
    del run.results[of_type(run, shape)[0]]
    outcomes, _, _ = run.judge()
    assert outcomes


def test_a_second_terminal_event(run: Run) -> None:
    run.results.append(run.results[of_type(run, Succeeded)[0]])
    outcomes, usage, numbers = run.judge()
    assert any("2 terminal events" in line for line in outcomes)
    assert usage
    assert numbers.succeeded == 21


def test_a_refusal_for_another_reason(run: Run) -> None:
    at = of_type(run, Rejected)[0]
    rejected = Rejected.model_validate_json(run.results[at].value or b"")
    run.results[at] = record("results", rejected.model_copy(update={"error": error("queue_full")}))
    outcomes, _, _ = run.judge()
    assert len(outcomes) == 1
    assert "queue_full" in outcomes[0]


def test_a_request_that_nobody_sent(run: Run) -> None:
    run.results.append(dead_letter(new_id(), Code.SIGNATURE_INVALID))
    outcomes, _, _ = run.judge()
    assert len(outcomes) == 1


def test_too_few_pictures(run: Run) -> None:
    planned = requests_of(TENANTS[0].id)[0]
    at = of_type(run, Succeeded)[0]
    event = Succeeded.model_validate_json(run.results[at].value or b"")
    assert len(event.outputs) == planned.data["images"] == 2
    run.results[at] = record("results", event.model_copy(update={"outputs": event.outputs[:1]}))
    outcomes, _, _ = run.judge()
    assert len(outcomes) == 1


def test_a_result_that_names_another_cost_than_usage(run: Run) -> None:
    at = of_type(run, Succeeded)[3]
    event = Succeeded.model_validate_json(run.results[at].value or b"")
    run.results[at] = record("results", event.model_copy(update={"cost_milliunits": COST - 1}))
    outcomes, usage, _ = run.judge()
    assert outcomes == []
    assert len(usage) == 1


def test_units_that_are_never_settled(run: Run) -> None:
    del run.usage[-1]
    outcomes, usage, _ = run.judge()
    assert outcomes == []
    assert any("outstanding" in line for line in usage)


def test_what_is_not_an_event_is_passed_over(run: Run) -> None:
    noise = replace(run.results[0], value=b"{", headers=())
    run.results += [noise, replace(noise, topic="easel.dead-letters")]
    assert run.judge()[:2] == ([], [])
