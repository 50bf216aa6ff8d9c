"""``easel ledger``: what can be done for a ledger that was lost."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated

import typer

from ops.cli.installation import settings_of_installation
from ops.cli.terminal import epilog, err, out, print_json
from ops.cli.usage import units
from ops.ledger.rebuild import rebuild

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Make a lost ledger again.")


@app.callback()
def _group() -> None:
    """Make a lost ledger again."""


@app.command("rebuild", epilog=epilog("easel ledger rebuild --dry-run", "easel ledger rebuild"))
def rebuild_(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; say what it would hold.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of text.")] = False,
) -> None:
    """Make a lost ledger again from the usage and results topics and the group's offsets.

    Balances are those that usage tells last, and ids that have ended stay known. What was open ends as failed and
    is refunded. Partitions that are not lost are left alone.
    """

    def say(line: str) -> None:
        err.print(line, style="dim", markup=False)

    done = asyncio.run(rebuild(settings_of_installation(), dry_run=dry_run, say=say))
    if as_json:
        print_json(asdict(done))
    elif not done.partitions:
        out.print("nothing is lost: every partition of the ledger has its mark")
    else:
        out.print(
            f"{'would make' if dry_run else 'made'} {len(done.partitions)} partitions: {done.accounts} accounts, "
            f"{done.ended} ended requests; {done.failed} that were open "
            f"{'would fail' if dry_run else 'failed'}, {units(done.refunded_milliunits)} units refunded"
        )
