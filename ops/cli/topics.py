"""``easel topics``: make the topics of an installation, or check them."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated

import typer

from consumer.admission.init import StartAt, initialise, specs_of
from ops.cli.acls import acls
from ops.cli.installation import settings_of_installation
from ops.cli.terminal import ExitCode, epilog, err, out, print_json
from ops.repartition.move import repartition
from schemas.catalog import load_catalog
from schemas.tenants import load_tenants
from transport.topics import check_topics

__all__ = ["app", "summed_up"]

app = typer.Typer(no_args_is_help=False)

_MISSING = " is missing: create it with `easel topics`"


@app.callback(invoke_without_command=True, epilog=epilog("easel topics", "easel topics --check"))
def topics(
    context: typer.Context,
    check: Annotated[bool, typer.Option("--check", help="Change nothing; say what is missing or differs.")] = False,
    start_at: Annotated[
        StartAt, typer.Option(help="Where to begin if the ledger is empty beside requests: at the earliest, or now.")
    ] = "refuse",
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of text.")] = False,
) -> None:
    """Make every topic that is missing, with its settings, and mark the ledger as this installation's.

    Safe to repeat: what is there stays as it is. With --check, exit code 1 if anything is not as it must be.
    """
    if context.invoked_subcommand is not None:
        return
    found = settings_of_installation()
    catalog, directory = load_catalog(found.models), load_tenants(found.tenants)
    if check:
        problems = asyncio.run(check_topics(found.kafka, specs_of(found, catalog, directory)))
        if as_json:
            print_json({"ok": not problems, "problems": problems})
        for problem in summed_up(problems) if not as_json else ():
            out.print(problem, markup=False)
        if problems:
            raise typer.Exit(ExitCode.FAILED)
        err.print("all topics are there, as they must be")
        return
    report = asyncio.run(initialise(found, catalog, directory, start_at=start_at))
    if as_json:
        print_json({"ok": True, "report": report})
    for line in report if not as_json else ():
        out.print(line, markup=False)


app.command(
    "acls",
    epilog=epilog("easel topics acls", "easel topics acls worker --user worker-2 --apply"),
)(acls)


@app.command(
    "repartition",
    epilog=epilog("easel topics repartition --partitions 24 --dry-run", "easel topics repartition --partitions 24"),
)
def move_to(
    partitions: Annotated[int, typer.Option(help="How many there shall be: more than there are.", min=2)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; say how much would move.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of text.")] = False,
) -> None:
    """Move the installation to more partitions: each tenant's account and requests to its new home.

    Admission is shut out while this lasts, and what is published meanwhile waits. If it is cut off, do
    it again: it goes on where it was. Then start every service with EASEL_KAFKA_PARTITIONS set to the
    new number.
    """
    found = settings_of_installation()
    catalog, directory = load_catalog(found.models), load_tenants(found.tenants)

    def say(line: str) -> None:
        err.print(line, style="dim", markup=False)

    done = asyncio.run(repartition(found, catalog, directory, partitions, dry_run=dry_run, say=say))
    if as_json:
        print_json(asdict(done))
        return
    if done.was == done.now:
        out.print(f"there are {done.now} partitions already, and nothing is under way")
        return
    verb = "would move" if dry_run else "moved"
    out.print(f"{done.moved} records of {done.tenants} tenants {verb}: {done.was} partitions → {done.now}")
    if not dry_run:
        err.print(f"now set EASEL_KAFKA_PARTITIONS={done.now} for every service, and start them")


def summed_up(problems: list[str]) -> list[str]:
    """The problems of ``check_topics``, with one line for all topics that are missing."""
    missing = [problem.removesuffix(_MISSING) for problem in problems if problem.endswith(_MISSING)]
    if len(missing) < 2:
        return problems
    rest = [problem for problem in problems if not problem.endswith(_MISSING)]
    return [f"{len(missing)} topics are missing: run `easel topics` ({', '.join(missing)})", *rest]
