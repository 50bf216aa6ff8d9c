"""``easel topics``: make the topics of an installation, or check them."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from consumer.admission.init import StartAt, initialise, specs_of
from ops.cli.installation import settings_of_installation
from ops.cli.terminal import ExitCode, err, out, print_json
from schemas.catalog import load_catalog
from schemas.tenants import load_tenants
from transport.topics import check_topics

__all__ = ["summed_up", "topics"]

_MISSING = " is missing: create it with `easel topics`"


def topics(
    check: Annotated[bool, typer.Option("--check", help="Change nothing; say what is missing or differs.")] = False,
    start_at: Annotated[
        StartAt, typer.Option(help="Where to begin if the ledger is empty beside requests: at the earliest, or now.")
    ] = "refuse",
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of text.")] = False,
) -> None:
    """Make every topic that is missing, with its settings, and mark the ledger as this installation's.

    Safe to repeat: what is there stays as it is. With --check, exit code 1 if anything is not as it must be.
    """
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


def summed_up(problems: list[str]) -> list[str]:
    """The problems of ``check_topics``, with one line for all topics that are missing."""
    missing = [problem.removesuffix(_MISSING) for problem in problems if problem.endswith(_MISSING)]
    if len(missing) < 2:
        return problems
    rest = [problem for problem in problems if not problem.endswith(_MISSING)]
    return [f"{len(missing)} topics are missing: run `easel topics` ({', '.join(missing)})", *rest]
