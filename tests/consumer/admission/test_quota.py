"""Rates and budgets, to the unit and to the millisecond."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.admission.quota import Account, QuotaExceeded, hold, periods_of, release, take_token
from schemas.errors import Code
from schemas.tenants import Limits, Tenant
from tests.consumer.admission.world import NOON_MS


def tokens(limits: Limits, times: list[int]) -> list[bool]:
    account, taken = Account("acme"), []
    for at_ms in times:
        try:
            account = take_token(account, limits, at_ms)
            taken.append(True)
        except QuotaExceeded:
            taken.append(False)
    return taken


def test_a_burst_then_the_rate() -> None:
    limits = Limits(requests_per_minute=60, burst=3)
    assert tokens(limits, [0, 0, 0, 0, 999, 1000, 1001, 2000]) == [True, True, True, False, False, True, False, True]


@given(
    rate=st.integers(1, 5_000),
    burst=st.integers(1, 20),
    steps=st.lists(st.integers(0, 5_000), max_size=60),
)
def test_retry_after_is_exact(rate: int, burst: int, steps: list[int]) -> None:
    """A ms before the time that a refusal names, it is still refused; at that time it is taken."""
    account, at_ms = Account("acme"), 0
    limits = Limits(requests_per_minute=rate, burst=burst)
    for step in steps:
        at_ms += step
        refusal = None
        try:
            account = take_token(account, limits, at_ms)
        except QuotaExceeded as error:
            refusal = error
        if refusal is not None:
            assert refusal.code == Code.RATE_LIMITED
            assert refusal.retry_after_s is not None
            due = at_ms + round(refusal.retry_after_s * 1000)
            take_token(account, limits, due)
            with pytest.raises(QuotaExceeded):
                take_token(account, limits, due - 1)


@given(
    rate=st.integers(1, 600), burst=st.integers(1, 10), steps=st.lists(st.integers(0, 2_000), min_size=1, max_size=80)
)
def test_never_more_than_the_rate_in_any_window(rate: int, burst: int, steps: list[int]) -> None:
    times = [sum(steps[: index + 1]) for index in range(len(steps))]
    taken = [
        at for at, ok in zip(times, tokens(Limits(requests_per_minute=rate, burst=burst), times), strict=True) if ok
    ]
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            assert (last - first + 1) * 60_000 <= burst * 60_000 + (taken[last] - taken[first]) * rate


def test_an_older_append_time_takes_no_time_back() -> None:
    limits = Limits(requests_per_minute=60, burst=1)
    account = take_token(Account("acme"), limits, 10_000)
    with pytest.raises(QuotaExceeded) as refused:
        take_token(account, limits, 4_000)
    assert refused.value.retry_after_s == 7.0


def test_a_lowered_burst_takes_effect_at_once() -> None:
    account = take_token(Account("acme"), Limits(requests_per_minute=600, burst=600), 0)
    account = take_token(account, Limits(requests_per_minute=600, burst=1), 0)
    with pytest.raises(QuotaExceeded):
        take_token(account, Limits(requests_per_minute=600, burst=1), 0)


def test_a_budget_is_used_to_the_last_milliunit() -> None:
    tenant = Tenant(id="acme", limits=Limits(units_per_day=Decimal("1.5"), units_per_month=Decimal(2)))
    account = hold(Account("acme"), tenant, 1500, NOON_MS)
    with pytest.raises(QuotaExceeded) as day:
        hold(account, tenant, 1, NOON_MS)
    assert (day.value.code, day.value.limit.remaining, day.value.retry_after_s) == (
        Code.BUDGET_DAY_EXCEEDED,
        0,
        12 * 3600,
    )
    tomorrow = NOON_MS + 86_400_000
    account = hold(account, tenant, 500, tomorrow)
    with pytest.raises(QuotaExceeded) as month:
        hold(account, tenant, 1, tomorrow)
    assert month.value.code == Code.BUDGET_MONTH_EXCEEDED
    assert month.value.retry_after_s == (8 * 24 + 12) * 3600


def test_waiting_does_not_help_what_is_larger_than_the_budget() -> None:
    tenant = Tenant(id="acme", limits=Limits(units_per_day=Decimal(1)))
    with pytest.raises(QuotaExceeded) as refused:
        hold(Account("acme"), tenant, 1001, NOON_MS)
    assert refused.value.retry_after_s is None


def test_a_refund_goes_to_the_day_of_the_hold() -> None:
    tenant = Tenant(id="acme", limits=Limits(units_per_day=Decimal(1)))
    account = hold(Account("acme"), tenant, 1000, NOON_MS)
    account = hold(account, tenant, 1000, NOON_MS + 86_400_000)
    account = release(account, "2026-11-21", "2026-11", settled=0, refunded=1000)
    assert hold(account, tenant, 1000, NOON_MS).days["2026-11-21"].used == 1000
    with pytest.raises(QuotaExceeded):
        hold(account, tenant, 1, NOON_MS + 86_400_000)


def test_days_begin_where_the_tenant_lives() -> None:
    midnight_in_shanghai = NOON_MS + 4 * 3_600_000
    shanghai = Tenant(id="acme", time_zone="Asia/Shanghai")
    assert periods_of(shanghai, midnight_in_shanghai - 1) == ("2026-11-21", "2026-11")
    assert periods_of(shanghai, midnight_in_shanghai) == ("2026-11-22", "2026-11")


ZONES = ["UTC", "Asia/Shanghai", "America/New_York", "Pacific/Apia", "America/Havana", "Atlantic/Azores"]
DAY_MS = 86_400_000
APIA_SKIPS_A_DAY_MS = 1_325_239_200_000
"""2011-12-30 10:00 UTC: in Apia the 29th ends, and the 31st begins."""


@given(
    zone=st.sampled_from(ZONES),
    from_ms=st.sampled_from([NOON_MS, NOON_MS - 400 * DAY_MS, APIA_SKIPS_A_DAY_MS - 20 * DAY_MS]),
    steps=st.lists(st.integers(0, 3 * DAY_MS), min_size=1, max_size=20),
    costs=st.lists(st.integers(1, 900), min_size=1, max_size=5),
    day=st.sampled_from([None, Decimal(1), Decimal(2)]),
    month=st.sampled_from([None, Decimal(1), Decimal(3)]),
    rate=st.sampled_from([None, 1, 7]),
)
@settings(max_examples=400, deadline=None)
def test_retry_after_of_a_budget_is_exact(
    zone: str,
    from_ms: int,
    steps: list[int],
    costs: list[int],
    day: Decimal | None,
    month: Decimal | None,
    rate: int | None,
) -> None:
    """At the time that a refusal names all of it fits, the rate too; at no moment before it does."""
    burst = None if rate is None else 1
    limits = Limits(units_per_day=day, units_per_month=month, requests_per_minute=rate, burst=burst)
    tenant = Tenant(id="acme", time_zone=zone, limits=limits)
    account, at_ms = Account("acme"), from_ms
    for index, step in enumerate(steps):
        at_ms += step
        cost = costs[index % len(costs)]
        refusal = None
        try:
            account = take_token(account, limits, at_ms)
            account = hold(account, tenant, cost, at_ms)
        except QuotaExceeded as error:
            refusal = error
        if refusal is None or refusal.code == Code.RATE_LIMITED:
            continue
        assert refusal.retry_after_s is not None
        wait_ms = round(refusal.retry_after_s * 1000)
        assert fits(account, tenant, cost, at_ms + wait_ms)
        earlier = {wait_ms - 1, wait_ms - 60_000, *(wait_ms * part // 50 for part in range(50))}
        assert not any(fits(account, tenant, cost, at_ms + ms) for ms in earlier if 0 <= ms < wait_ms)


def fits(account: Account, tenant: Tenant, cost: int, at_ms: int) -> bool:
    try:
        hold(take_token(account, tenant.limits, at_ms), tenant, cost, at_ms)
    except QuotaExceeded:
        return False
    return True


def test_in_apia_the_day_after_the_29th_was_the_31st() -> None:
    apia = Tenant(id="acme", time_zone="Pacific/Apia", limits=Limits(units_per_day=Decimal(1)))
    at_ms = APIA_SKIPS_A_DAY_MS - 1_000
    assert periods_of(apia, at_ms) == ("2011-12-29", "2011-12")
    account = hold(Account("acme"), apia, 1000, at_ms)
    with pytest.raises(QuotaExceeded) as refused:
        hold(account, apia, 1, at_ms)
    assert refused.value.retry_after_s == 1.0
    assert "2011-12-31" in hold(account, apia, 1, at_ms + 1_000).days


def test_a_budget_refusal_waits_for_its_token_too() -> None:
    limits = Limits(units_per_day=Decimal(1), requests_per_minute=1, burst=1)
    tenant, at_ms = Tenant(id="acme", limits=limits), NOON_MS + DAY_MS // 2 - 10_000
    account = hold(Account("acme"), tenant, 1000, NOON_MS)
    account = take_token(account, limits, at_ms)
    with pytest.raises(QuotaExceeded) as refused:
        hold(account, tenant, 1, at_ms)
    assert (refused.value.code, refused.value.retry_after_s) == (Code.BUDGET_DAY_EXCEEDED, 60.0)


def test_a_full_month_is_waited_for_when_a_new_day_does_not_help() -> None:
    limits = Limits(units_per_day=Decimal(1), units_per_month=Decimal(1))
    tenant = Tenant(id="acme", limits=limits)
    account = hold(Account("acme"), tenant, 1000, NOON_MS)
    with pytest.raises(QuotaExceeded) as refused:
        hold(account, tenant, 1, NOON_MS)
    assert refused.value.code == Code.BUDGET_DAY_EXCEEDED
    assert refused.value.retry_after_s == (9 * 24 + 12) * 3600


def test_the_hour_that_summer_time_takes_is_waited_for_no_longer() -> None:
    """Berlin, 2026-03-29: the day has 23 hours."""
    berlin = Tenant(id="acme", time_zone="Europe/Berlin", limits=Limits(units_per_day=Decimal(1)))
    midnight = 1_774_738_800_000
    account = hold(Account("acme"), berlin, 1000, midnight)
    with pytest.raises(QuotaExceeded) as refused:
        hold(account, berlin, 1, midnight)
    assert refused.value.retry_after_s == 23 * 3600


def test_old_days_are_forgotten_unless_something_is_outstanding() -> None:
    tenant = Tenant(id="acme")
    account = hold(Account("acme"), tenant, 7, NOON_MS)
    for day in range(1, 10):
        account = hold(account, tenant, 1, NOON_MS + day * 86_400_000)
        name = periods_of(tenant, NOON_MS + day * 86_400_000)
        account = release(account, *name, settled=1, refunded=0)
    assert sorted(account.days) == ["2026-11-21", "2026-11-28", "2026-11-29", "2026-11-30"]
    account = release(account, "2026-11-21", "2026-11", settled=7, refunded=0)
    account = hold(account, tenant, 1, NOON_MS + 10 * 86_400_000)
    assert "2026-11-21" not in account.days
