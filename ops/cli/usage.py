"""``easel usage``: what each tenant has used, and what is left."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from ops.cli.accounts import Account, read_accounts
from ops.cli.installation import settings
from ops.cli.terminal import ExitCode, err, out, print_json

__all__ = ["units", "usage", "usage_table"]


def usage(
    tenant: Annotated[str | None, typer.Option(help="This tenant alone.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON for each account, in milli-units.")] = False,
) -> None:
    """Show every tenant's units a day and a month, read from the usage topic.

    Always held = settled + refunded + outstanding. If the entries don't add up, exit code 1.
    """
    found = asyncio.run(read_accounts(settings().kafka))
    accounts = [account for account in found.accounts() if tenant in {None, account.tenant}]
    if as_json:
        for account in accounts:
            print_json({**asdict(account), "left": account.left})
    elif accounts:
        out.print(usage_table(accounts), soft_wrap=False)
    else:
        err.print("no usage yet" + (f" of {tenant}" if tenant else ""))
    for problem in found.problems:
        err.print(problem, style="red", markup=False)
    if found.problems:
        raise typer.Exit(ExitCode.FAILED)


def usage_table(accounts: list[Account]) -> Table:
    """The accounts as a table, in units."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("tenant")
    table.add_column("period")
    for name in ("held", "settled", "refunded", "outstanding", "left"):
        table.add_column(name, justify="right")
    last = ""
    for account in accounts:
        amounts = (account.held, account.settled, account.refunded, account.outstanding, account.left)
        name = account.tenant if account.tenant != last else ""
        table.add_row(name, account.period, *(units(amount) for amount in amounts))
        last = account.tenant
    return table


def units(milliunits: int | None) -> str:
    """Milli-units as people read them: ``12.345``; without a limit a dash."""
    return "–" if milliunits is None else f"{milliunits / 1000:,.3f}"
