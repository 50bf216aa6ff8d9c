"""``easel usage``: what each tenant has used, and what is left."""

from __future__ import annotations

import asyncio
import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date
from itertools import groupby
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from ops.cli.accounts import Account, read_accounts
from ops.cli.installation import settings
from ops.cli.terminal import CommandError, ExitCode, err, print_json, print_table
from ops.cli.times import moment

__all__ = ["units", "usage", "usage_table"]

By = Literal["day", "month", "tenant"]


def usage(
    tenant: Annotated[str | None, typer.Option(help="This tenant alone.", show_default=False)] = None,
    since: Annotated[
        str | None,
        typer.Option(help="Days from then on: 2026-11-01, or 7d ago. Days are the tenants' own.", show_default=False),
    ] = None,
    by: Annotated[
        By | None,
        typer.Option(help="A row for each. Default: day with --since, else months and days.", show_default=False),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV, in milli-units.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON for each account, in milli-units.")] = False,
) -> None:
    """Show every tenant's units, read from the usage topic: each movement counts in the day in which it was held.

    Always held = settled + refunded + outstanding. If the entries don't add up, exit code 1.
    """
    if as_csv and as_json:
        raise CommandError("--csv and --json at once", "say one of them", code=ExitCode.USAGE)
    first = None if since is None else moment(since).astimezone(UTC).date()
    if first is not None and by == "month":
        first = first.replace(day=1)
    found = asyncio.run(read_accounts(settings().kafka, first))
    accounts = list(_chosen(found.accounts(), tenant, first, by))
    if as_json:
        for account in accounts:
            print_json(_in_milliunits(account))
    elif as_csv:
        writer = csv.DictWriter(sys.stdout, list(_in_milliunits(_NOBODY)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(_in_milliunits(account) for account in accounts)
    elif accounts:
        print_table(usage_table(accounts))
    else:
        err.print("no usage" + (f" of {tenant}" if tenant else "") + (f" since {first}" if first else " yet"))
    for problem in found.problems:
        err.print(problem, style="red", markup=False)
    if found.problems:
        raise typer.Exit(ExitCode.FAILED)


def usage_table(accounts: list[Account]) -> Table:
    """The accounts as a table, in units."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("tenant", no_wrap=True)
    table.add_column("period", no_wrap=True)
    for name in ("requests", "held", "settled", "refunded", "outstanding", "left"):
        table.add_column(name, justify="right")
    last = ""
    for account in accounts:
        amounts = (account.held, account.settled, account.refunded, account.outstanding, account.left)
        name = account.tenant if account.tenant != last else ""
        table.add_row(name, account.period, f"{account.requests:,}", *(units(amount) for amount in amounts))
        last = account.tenant
    return table


def units(milliunits: int | None) -> str:
    """Milli-units as people read them: ``12.345``; without a limit a dash."""
    return "–" if milliunits is None else f"{milliunits / 1000:,.3f}"


_NOBODY = Account("", "", 0, 0, 0, 0, 0, None)


def _chosen(accounts: Iterable[Account], tenant: str | None, first: date | None, by: By | None) -> Iterator[Account]:
    wanted = [account for account in accounts if tenant in {None, account.tenant}]
    days = [account for account in wanted if account.is_day and (first is None or account.period >= first.isoformat())]
    if by == "tenant":
        for _, mine in groupby(days, key=lambda account: account.tenant):
            yield _summed(list(mine), first)
    elif by == "month":
        yield from (
            account
            for account in wanted
            if not account.is_day and (first is None or account.period >= first.isoformat()[:7])
        )
    elif by == "day" or first is not None:
        yield from days
    else:
        yield from wanted


def _summed(days: Sequence[Account], first: date | None) -> Account:
    return replace(
        days[0],
        period=f"since {days[0].period if first is None else first}",
        requests=sum(day.requests for day in days),
        held=sum(day.held for day in days),
        settled=sum(day.settled for day in days),
        refunded=sum(day.refunded for day in days),
        outstanding=sum(day.outstanding for day in days),
        limit=None,
    )


def _in_milliunits(account: Account) -> dict[str, Any]:
    return {
        "tenant": account.tenant,
        "period": account.period,
        "requests": account.requests,
        "held_milliunits": account.held,
        "settled_milliunits": account.settled,
        "refunded_milliunits": account.refunded,
        "outstanding_milliunits": account.outstanding,
        "limit_milliunits": account.limit,
        "left_milliunits": account.left,
    }
