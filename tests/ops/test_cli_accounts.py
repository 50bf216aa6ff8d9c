"""The accounts that `easel usage` shows, and whether it notices one that does not add up."""

from __future__ import annotations

from ops.cli.accounts import Accounts
from ops.cli.usage import units
from schemas.envelope import Envelope
from schemas.events import Balance, Usage, UsageHeld, UsageRefunded, UsageSettled
from schemas.ids import event_id, new_id
from transport.records import Record

DAY, MONTH = "2026-11-21", "2026-11"


def balances(held: int, settled: int, refunded: int, *, limit: int | None = 10_000) -> tuple[Balance, Balance]:
    amounts = {"held": held, "settled": settled, "refunded": refunded, "outstanding": held - settled - refunded}
    return Balance(period=DAY, limit=limit, **amounts), Balance(period=MONTH, limit=None, **amounts)


def record(entry: Usage, offset: int) -> Record:
    envelope = Envelope(
        id=event_id(entry.request_id, entry.TYPE, offset),
        type=entry.TYPE,
        source="easel",
        subject=entry.request_id,
        data=entry.model_dump_json().encode(),
    )
    return Record("easel.usage", 0, offset, 0, b"atelier", envelope.data, envelope.headers())


def entry(shape: type[Usage], milliunits: int, after: tuple[Balance, Balance]) -> Usage:
    day, month = after
    return shape(tenant="atelier", request_id=new_id(), milliunits=milliunits, model="m", day=day, month=month)


def test_holding_settling_and_giving_back() -> None:
    found = Accounts()
    history = [
        entry(UsageHeld, 700, balances(700, 0, 0)),
        entry(UsageHeld, 300, balances(1_000, 0, 0)),
        entry(UsageSettled, 500, balances(1_000, 500, 0)),
        entry(UsageRefunded, 200, balances(1_000, 500, 200)),
    ]
    found.add(record(one, offset) for offset, one in enumerate(history))
    assert found.problems == []
    month, day = found.accounts()
    assert (day.period, day.held, day.settled, day.refunded, day.outstanding) == (DAY, 1_000, 500, 200, 300)
    assert day.left == 10_000 - 500 - 300
    assert (month.period, month.left) == (MONTH, None)
    total = found.totals("atelier")
    assert (total.held, total.settled, total.refunded, total.outstanding) == (1_000, 500, 200, 300)
    assert found.totals("bureau").held == 0


def test_a_lost_entry_is_noticed() -> None:
    found = Accounts()
    found.add([record(entry(UsageHeld, 300, balances(1_000, 0, 0)), 0)])
    assert len(found.problems) == 2
    assert "its entries add up to (300, 0, 0, 300)" in found.problems[0]


def test_an_entry_that_stands_twice_is_noticed_and_counted_once() -> None:
    found = Accounts()
    once = record(entry(UsageHeld, 300, balances(300, 0, 0)), 0)
    found.add([once, once])
    assert len(found.problems) == 1
    assert "stands twice" in found.problems[0]
    assert found.totals("atelier").held == 300


def test_a_damaged_record_is_named_by_its_place() -> None:
    found = Accounts()
    damaged = Record("easel.usage", 3, 17, 0, None, b"{", record(entry(UsageHeld, 1, balances(1, 0, 0)), 0).headers)
    found.add([damaged])
    assert len(found.problems) == 1
    assert "easel.usage[3] offset 17" in found.problems[0]


def test_units_as_people_read_them() -> None:
    assert [units(0), units(1), units(1_234_567), units(None)] == ["0.000", "0.001", "1,234.567", "–"]
