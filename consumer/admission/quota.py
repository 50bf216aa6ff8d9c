"""May this tenant? Rates and budgets in whole numbers, so that no rounding ever gives or takes a unit.

Pure: time comes in as the broker's milliseconds, and what changes comes back as new values.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec
from msgspec.structs import replace

from schemas.errors import Code, EaselError, ErrorType
from schemas.events import Balance, Limit
from schemas.tenants import Limits, Tenant

__all__ = [
    "Account",
    "Bucket",
    "Period",
    "QuotaExceeded",
    "balance",
    "hold",
    "left",
    "periods_of",
    "release",
    "take_token",
]

_MINUTE_MS = 60_000
_RATE = "requests_per_minute"
_KEPT_DAYS = 3
_KEPT_MONTHS = 3


class Bucket(msgspec.Struct, frozen=True, gc=False):
    """A token bucket. ``level`` counts 60,000ths of a request: r requests a minute are exactly r of them a ms."""

    level: int
    at_ms: int


class Period(msgspec.Struct, frozen=True, gc=False):
    """What a day or a month has seen, in milli-units. Always ``held = settled + refunded + outstanding``."""

    held: int = 0
    settled: int = 0
    refunded: int = 0

    @property
    def outstanding(self) -> int:
        return self.held - self.settled - self.refunded

    @property
    def used(self) -> int:
        """What counts against a budget: charged, or set aside to be."""
        return self.held - self.refunded


class Account(msgspec.Struct, frozen=True, gc=False):
    """A tenant's whole account: it lives in one partition's ledger, and nowhere else."""

    tenant: str
    bucket: Bucket | None = None
    days: Mapping[str, Period] = msgspec.field(default_factory=dict)
    months: Mapping[str, Period] = msgspec.field(default_factory=dict)
    turns: Mapping[str, int] = msgspec.field(default_factory=dict)
    """Pool → how far the tenant has been served there, for whose turn it is."""
    asked: int = 0
    """The work of all that was accepted, in milli-units."""


class QuotaExceeded(EaselError):  # noqa: N818 - it names what happened
    """A limit stands in the way: which one, what is left of it, and when to come back (None: not by waiting)."""

    def __init__(self, code: Code, message: str, limit: Limit, retry_after_s: float | None) -> None:
        kind = ErrorType.RATE_LIMIT if code in (Code.RATE_LIMITED, Code.QUEUE_FULL) else ErrorType.QUOTA
        super().__init__(code, message, type=kind)
        self.limit = limit
        self.retry_after_s = retry_after_s


def take_token(account: Account, limits: Limits, at_ms: int) -> Account:
    """The account after one more request. Raises ``QuotaExceeded(rate_limited)``.

    Time never runs backwards for a bucket: a request that was rerouted brings its first append time with it.
    """
    rate = limits.requests_per_minute
    if rate is None:
        return account
    bucket = _filled(account, limits, rate, at_ms)
    if bucket.level < _MINUTE_MS:
        wait_ms = _until_token(account, limits, at_ms)
        raise QuotaExceeded(
            Code.RATE_LIMITED,
            f"more than {rate} requests a minute: wait {wait_ms / 1000:g} s",
            Limit(name=_RATE, limit=rate, remaining=0),
            wait_ms / 1000,
        )
    return replace(account, bucket=Bucket(bucket.level - _MINUTE_MS, bucket.at_ms))


def periods_of(tenant: Tenant, at_ms: int) -> tuple[str, str]:
    """The day (``2026-11-21``) and the month (``2026-11``) of a moment, where the tenant lives."""
    local = datetime.fromtimestamp(at_ms / 1000, tz=_zone(tenant.time_zone))
    day = local.date().isoformat()
    return day, day[:7]


def hold(account: Account, tenant: Tenant, cost: int, at_ms: int) -> Account:
    """The account with ``cost`` set aside. Raises ``QuotaExceeded`` for the first budget that has too little left."""
    day, month = periods_of(tenant, at_ms)
    for code, name, limit, used in _budgets(account, tenant, day, month):
        if limit is not None and used + cost > limit:
            remaining = max(0, limit - used)
            wait_ms = _until_affordable(account, tenant, cost, at_ms)
            remedy = "ask for less" if wait_ms is None else f"come back in {wait_ms / 1000:.0f} s, or ask for less"
            raise QuotaExceeded(
                code,
                f"{name}: this costs {cost / 1000:g} units and {remaining / 1000:g} of {limit / 1000:g} are left:"
                f" {remedy}",
                Limit(name=_in_milliunits(name), limit=limit, remaining=remaining),
                None if wait_ms is None else wait_ms / 1000,
            )
    return replace(
        account,
        days=_posted(account.days, day, _KEPT_DAYS, held=cost),
        months=_posted(account.months, month, _KEPT_MONTHS, held=cost),
    )


def left(account: Account, tenant: Tenant, at_ms: int) -> list[Limit]:
    """What the tenant's rate and budgets have left at this moment; nothing about what has no limit."""
    found: list[Limit] = []
    limits = tenant.limits
    if limits.requests_per_minute is not None:
        rate = limits.requests_per_minute
        tokens = _filled(account, limits, rate, at_ms).level // _MINUTE_MS
        found.append(Limit(name=_RATE, limit=rate, remaining=tokens))
    for _, name, limit, used in _budgets(account, tenant, *periods_of(tenant, at_ms)):
        if limit is not None:
            found.append(Limit(name=_in_milliunits(name), limit=limit, remaining=max(0, limit - used)))
    return found


def release(account: Account, day: str, month: str, *, settled: int, refunded: int) -> Account:
    """The account after a hold of ``settled + refunded`` ends; posted to the day and month of the hold."""
    return replace(
        account,
        days=_posted(account.days, day, _KEPT_DAYS, settled=settled, refunded=refunded),
        months=_posted(account.months, month, _KEPT_MONTHS, settled=settled, refunded=refunded),
    )


def balance(period: str, posted: Mapping[str, Period], limit: int | None) -> Balance:
    """A period as usage events tell it."""
    found = posted.get(period, Period())
    return Balance(
        period=period,
        held=found.held,
        settled=found.settled,
        refunded=found.refunded,
        outstanding=found.outstanding,
        limit=limit,
    )


def _posted(
    periods: Mapping[str, Period], name: str, kept: int, *, held: int = 0, settled: int = 0, refunded: int = 0
) -> dict[str, Period]:
    old = periods.get(name, Period())
    new = {**periods, name: Period(old.held + held, old.settled + settled, old.refunded + refunded)}
    # A period is forgotten when it is old and nothing in it can move any more.
    for stale in sorted(new)[:-kept]:
        if new[stale].outstanding == 0 and stale != name:
            del new[stale]
    return new


def _filled(account: Account, limits: Limits, rate: int, at_ms: int) -> Bucket:
    """The bucket with what has flowed into it since it was last used."""
    full = (limits.burst if limits.burst is not None else rate) * _MINUTE_MS
    bucket = account.bucket or Bucket(full, at_ms)
    now = max(at_ms, bucket.at_ms)
    return Bucket(min(full, bucket.level + (now - bucket.at_ms) * rate), now)


def _until_token(account: Account, limits: Limits, at_ms: int) -> int:
    """How long until the next request may come, in ms."""
    rate = limits.requests_per_minute
    if rate is None:
        return 0
    bucket = _filled(account, limits, rate, at_ms)
    return bucket.at_ms - at_ms + max(0, -(-(_MINUTE_MS - bucket.level) // rate))


def _budgets(account: Account, tenant: Tenant, day: str, month: str) -> tuple[tuple[Code, str, int | None, int], ...]:
    limits = tenant.limits
    used_today = account.days.get(day, Period()).used
    used_this_month = account.months.get(month, Period()).used
    return (
        (Code.BUDGET_DAY_EXCEEDED, "units_per_day", limits.day_milliunits, used_today),
        (Code.BUDGET_MONTH_EXCEEDED, "units_per_month", limits.month_milliunits, used_this_month),
    )


def _in_milliunits(name: str) -> str:
    return name.replace("units", "milliunits")


def _until_affordable(account: Account, tenant: Tenant, cost: int, at_ms: int) -> int | None:
    """How long until a request of this cost fits into every budget and has a token, in ms; None: it never does."""
    limits = tenant.limits
    if any(limit is not None and cost > limit for limit in (limits.day_milliunits, limits.month_milliunits)):
        return None
    start_ms = at_ms
    # Later days hold nothing yet, but for what came with another time or zone: those few are passed over.
    for _ in range(_KEPT_DAYS + _KEPT_MONTHS):
        day, month = periods_of(tenant, start_ms)
        for_day, for_month = (
            limit is not None and used + cost > limit for _, _, limit, used in _budgets(account, tenant, day, month)
        )
        if not for_day and not for_month:
            break
        start_ms = _start_of_next(tenant, start_ms, month=for_month)
    return max(start_ms - at_ms, _until_token(account, limits, at_ms))


def _start_of_next(tenant: Tenant, at_ms: int, *, month: bool) -> int:
    """When the next day or month begins where the tenant lives, in ms."""
    zone = _zone(tenant.time_zone)
    local = datetime.fromtimestamp(at_ms / 1000, tz=zone)
    first = local.date().replace(day=1) if month else local.date()
    next_day = (first + timedelta(days=32)).replace(day=1) if month else first + timedelta(days=1)
    # Where the clock skips midnight, or a whole day as in Apia in 2011, this is the moment at which it does.
    return int(datetime(next_day.year, next_day.month, next_day.day, tzinfo=zone).timestamp()) * 1000


@lru_cache(maxsize=512)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)
