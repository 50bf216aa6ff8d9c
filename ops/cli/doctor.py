"""``easel doctor``: what is missing or wrong, and what to do about it."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from ops.cli.checks import Check, configuration, local_checks, reach_checks
from ops.cli.terminal import ExitCode, err, out, print_json

__all__ = ["doctor"]

_MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "wrong": ("✗", "red")}


def doctor(as_json: Annotated[bool, typer.Option("--json", help="JSON instead of text.")] = False) -> None:
    """Look at this machine, the settings, the files, the broker and the store. Exit code 1 if anything is wrong."""
    checks = list(local_checks())
    known = configuration()
    checks += known.checks
    if known.settings is not None:
        checks += asyncio.run(reach_checks(known.settings, known.catalog, known.directory))
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        for check in checks:
            out.print(_line(check))
    wrong = sum(check.state == "wrong" for check in checks)
    if wrong:
        err.print(f"{wrong} thing{'s' * (wrong != 1)} to put right")
        raise typer.Exit(ExitCode.FAILED)


def _line(check: Check) -> Text:
    mark, colour = _MARKS[check.state]
    text = Text(f"{mark} ", style=colour)
    text.append(f"{check.name:<10} ", style="bold")
    text.append(check.detail)
    if check.remedy:
        text.append(f"  → {check.remedy}", style="cyan")
    return text
