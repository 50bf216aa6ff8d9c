"""``easel hostile``: whether events that nobody's client should write harm anybody."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.installation import data_dir
from ops.cli.terminal import ExitCode, err, out, print_json

if TYPE_CHECKING:
    from ops.hostile.fates import Judged

__all__ = ["hostile"]

_SHOWN = 20
_LARGEST_SEED = 10_000


def hostile(
    events: Annotated[int, typer.Option(help="How many.", min=100)] = 5_000,
    rate: Annotated[float, typer.Option(help="How many a second.", min=1.0)] = 500.0,
    seed: Annotated[int | None, typer.Option(help="Draws the events; any when absent.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Only the last line: JSON.")] = False,
) -> None:
    """Send events with hostile headers, tokens, JSON, numbers, texts and sizes beside those of good tenants.

    Each must become a dead letter or be answered with a code, once; nothing may crash or grow, and the good tenants
    must get their pictures. Runs on a Kafka, a store and processes of its own, and stops them at the end. Exit code 1
    if anything is not as it must be; logs are then kept, and it says where.
    """
    # psutil comes with it, which the other commands do without.
    from ops.hostile.run import Hostile

    chosen = random.randrange(_LARGEST_SEED) if seed is None else seed  # noqa: S311 - any will do
    folder = data_dir() / "hostile" / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-seed-{chosen}"
    if not as_json:
        out.print(f"seed {chosen}, {events} events at {rate:g} a second")
    run = Hostile(folder, chosen, events, rate)
    clean = False
    try:
        numbers = asyncio.run(run.run())
        clean = numbers.clean
    finally:
        # It takes a second or two, and one more Ctrl-C must not leave it half done.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        run.close()
        shutil.rmtree(folder if clean else folder / "stack", ignore_errors=True)
        if not clean:
            err.print(f"logs: {folder / 'logs'}", markup=False)
    if not as_json:
        _show(run.judged)
    print_json(asdict(numbers))
    if not clean:
        raise typer.Exit(ExitCode.FAILED)


def _show(judged: Judged) -> None:
    for code, count in judged.codes.most_common():
        out.print(f"{count:>7}  {code}", markup=False)
    wrong = [
        *(f"nothing became of {line}" for line in judged.missing),
        *(f"told more than once: {line}" for line in judged.doubled),
        *(f"another fate was due: {line}" for line in judged.wrong),
    ]
    for line in wrong[:_SHOWN]:
        out.print(line, style="red", markup=False)
    if len(wrong) > _SHOWN:
        out.print(f"and {len(wrong) - _SHOWN} more", style="red")
