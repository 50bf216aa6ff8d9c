"""``easel demo``: the whole way on real parts, and a check that everything adds up."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from consumer.engine.weights import unusable_files
from ops.cli.installation import DEMO, data_dir
from ops.cli.terminal import CommandError, ExitCode, err, out, print_json
from schemas.catalog import load_catalog

__all__ = ["demo"]


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running at the end.")] = False,
    folder: Annotated[Path, typer.Option("--out", help="Where the pictures go.")] = Path("easel-out/demo"),
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON on standard output.")] = False,
) -> None:
    """Three tenants publish 24 requests to a real Kafka; pictures come out, and every unit is accounted for.

    Four of the requests must not succeed: one is over its rate, one forged, one malformed, one a duplicate. Exit code 1
    if anything is not as it must be. Everything is stopped at the end, also by Ctrl-C; with --keep it goes on.
    """
    # Imaging packages come with it, which the other commands do without.
    from ops.demo.report import show
    from ops.demo.run import Demo
    from ops.demo.stack import DemoStack

    console = err if as_json else out
    began = time.monotonic()
    models = Path("models.yaml")
    _require_pipelines(models)
    directory = (data_dir() / DEMO).resolve()
    stack = DemoStack(directory, lambda line: console.print(line, style="dim", markup=False))
    kept = False
    try:
        run = Demo(stack.up(models), stack, console)
        asyncio.run(run.run())
        numbers = run.numbers(time.monotonic() - began)
        kept = keep and not run.problems
        show(console, run, numbers, folder, directory, kept=kept)
    finally:
        if not kept:
            console.print("\nstopping everything", style="dim")
            # It takes a second or two, and one more Ctrl-C must not leave it half done.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            stack.down()
    if as_json:
        print_json(asdict(numbers))
    if run.problems:
        raise typer.Exit(ExitCode.FAILED)


def _require_pipelines(models: Path) -> None:
    if not models.exists():
        raise CommandError("there is no models.yaml here", "run this in a clone of easel", code=ExitCode.SETUP)
    for card in load_catalog(models).models.values():
        if os.environ.get("EASEL_GENERATION_ENGINE") == "null":
            continue
        for problem in unusable_files(card):
            raise CommandError(
                problem,
                "`easel model train` makes easel-tiny; EASEL_GENERATION_ENGINE=null does without",
                code=ExitCode.SETUP,
            )
