"""The accounts that `easel usage` shows, and whether it notices one that does not add up."""

from __future__ import annotations

import pickle
from collections.abc import AsyncGenerator
from datetime import UTC, date, datetime

import pytest
from msgspec.structs import replace

from ops.cli.accounts import Accounts, in_order
from ops.cli.usage import units
from schemas.envelope import Envelope
from schemas.events import Balance, Usage, UsageHeld, UsageRefunded, UsageSettled
from schemas.ids import DAY_MS, event_id, new_id
from transport.records import Record

DAY, MONTH = "2026-11-21", "2026-11"


def balances(held: int, settled: int, refunded: int, *, limit: int | None = 10_000) -> tuple[Balance, Balance]:
    amounts = {"held": held, "settled": settled, "refunded": refunded, "outstanding": held - settled - refunded}
    return Balance(period=DAY, limit=limit, **amounts), Balance(period=MONTH, limit=None, **amounts)


def record(entry: Usage, offset: int, *, at_ms: int = 0) -> Record:
    envelope = Envelope(
        id=event_id(entry.tenant, entry.request_id, entry.TYPE, offset),
        type=entry.TYPE,
        source="easel",
        subject=entry.request_id,
        data=entry.model_dump_json().encode(),
    )
    return Record("easel.usage", 0, offset, at_ms, b"atelier", envelope.data, envelope.headers())


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


def test_a_problem_is_told_once_and_the_chain_goes_on() -> None:
    found = Accounts()
    history = [entry(UsageHeld, 300, balances(1_000, 0, 0)), entry(UsageHeld, 100, balances(1_100, 0, 0))]
    found.add(record(one, offset) for offset, one in enumerate(history))
    assert len(found.problems) == 2


def test_a_thousand_problems_are_a_hundred_lines() -> None:
    found = Accounts()
    found.add(Record("easel.usage", 0, offset, 0, None, b"{", ()) for offset in range(1_000))
    assert len(found.problems) == 101
    assert found.problems[-1] == "and 900 more"


NOON_MS = int(datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(("at_ms", "noticed"), [(NOON_MS, 0), (NOON_MS - DAY_MS, 1)])
def test_where_reading_begins_later_a_days_first_entries_may_have_been_before(at_ms: int, noticed: int) -> None:
    found = Accounts()
    # The month began long before either; the day may have begun before noon of its eve, where it is 14 hours ahead.
    found.add([record(entry(UsageHeld, 300, balances(1_000, 0, 0)), 5, at_ms=at_ms)])
    assert len(found.problems) == noticed
    found.add([record(entry(UsageHeld, 300, balances(2_000, 0, 0)), 6, at_ms=at_ms)])
    assert len(found.problems) == noticed + 2


async def test_an_account_that_moved_to_another_partition_is_one_chain() -> None:
    async def partition(number: int, records: list[Record]) -> AsyncGenerator[list[Record], None]:
        for one in records:
            yield [replace(one, partition=number)]

    before = [record(entry(UsageHeld, 300, balances(300, 0, 0)), 0, at_ms=10)]
    after = [
        record(entry(UsageHeld, 100, balances(400, 0, 0)), 0, at_ms=20),
        record(entry(UsageSettled, 400, balances(400, 400, 0)), 1, at_ms=30),
    ]
    found = Accounts()
    async for one in in_order([partition(0, after), partition(1, []), partition(2, before)]):
        found.add([one])
    assert found.problems == []
    assert found.totals("atelier").settled == 400


def test_where_days_are_said_to_be_complete_they_begin_from_nothing() -> None:
    for first, noticed in ((date(2026, 11, 21), 1), (date(2026, 11, 1), 2), (date(2026, 11, 22), 0)):
        found = Accounts(complete_from=first)
        found.add([record(entry(UsageHeld, 300, balances(1_000, 0, 0)), 5)])
        assert len(found.problems) == noticed


def test_the_memory_of_it_is_that_of_its_accounts() -> None:
    def kept(count: int) -> int:
        found = Accounts()
        found.add(record(entry(UsageHeld, 1, balances(number, 0, 0)), number - 1) for number in range(1, count + 1))
        assert found.problems == []
        return len(pickle.dumps(found))

    assert kept(1_000) < kept(10) + 100


def test_a_damaged_record_is_named_by_its_place() -> None:
    found = Accounts()
    damaged = Record("easel.usage", 3, 17, 0, None, b"{", record(entry(UsageHeld, 1, balances(1, 0, 0)), 0).headers)
    found.add([damaged])
    assert len(found.problems) == 1
    assert "easel.usage[3] offset 17" in found.problems[0]


def test_units_as_people_read_them() -> None:
    assert [units(0), units(1), units(1_234_567), units(None)] == ["0.000", "0.001", "1,234.567", "–"]
