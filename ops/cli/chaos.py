"""``easel chaos``: whether the promise holds while everything is killed, stopped and cut off."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ops.cli.installation import data_dir
from ops.cli.terminal import ExitCode, err, out, print_json

if TYPE_CHECKING:
    from ops.chaos.run import Chaos
    from ops.chaos.verify import Verdict

__all__ = ["chaos"]

_SHOWN = 20
_LARGEST_SEED = 10_000


def chaos(
    seconds: Annotated[float, typer.Option(help="How long requests come in and faults are done.", min=20.0)] = 60.0,
    seed: Annotated[int | None, typer.Option(help="Draws the faults and the requests; any when absent.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Only the last line: JSON.")] = False,
) -> None:
    """Kill, stop and cut off everything while requests come in, then check that each was answered and paid for once.

    Runs on a Kafka, a store and processes of its own, and stops them at the end, also by Ctrl-C. Exit code 1 if
    anything is not as it must be; journal, logs and topics are then kept, and it says where.
    """
    # psutil comes with it, which the other commands do without.
    from ops.chaos.report import keep_evidence, numbers_of
    from ops.chaos.run import Chaos, Course

    chosen = random.randrange(_LARGEST_SEED) if seed is None else seed  # noqa: S311 - any will do
    folder = data_dir() / "chaos" / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-seed-{chosen}"
    began = time.monotonic()

    def tell(line: str) -> None:
        if not as_json:
            out.print(line, markup=False)

    tell(f"seed {chosen}, {seconds:g} s: the same seed makes the same faults, at the same times")
    run = Chaos(Course(chosen, seconds), folder, tell)
    verdict = None
    clean = False
    try:
        verdict = asyncio.run(run.run())
        clean = not verdict.violations and not run.problems
    finally:
        # It takes a second or two, and one more Ctrl-C must not leave it half done.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        run.close()
        if clean:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            keep_evidence(run, verdict)
            err.print(f"journal, logs and what the topics say: {folder}", markup=False)
    if run.observer is None:
        return
    numbers = numbers_of(run, verdict, run.observer, time.monotonic() - began)
    if not as_json:
        _show(run, verdict)
    print_json({**asdict(numbers)})
    if not clean:
        raise typer.Exit(ExitCode.FAILED)


def _show(run: Chaos, verdict: Verdict) -> None:
    from ops.chaos.report import recoveries

    if run.observer is None:
        return
    found = recoveries(run.damages, run.observer)
    table = Table("at", "fault", "served again after", box=None, header_style="dim")
    for number, damage in enumerate(run.damages):
        after = found.get(number)
        table.add_row(f"{damage.fault.at_s:.1f} s", str(damage.fault), "-" if after is None else f"{after:.1f} s")
    out.print(table)
    counts = verdict.counts
    out.print(
        f"{verdict.sent} requests: {counts['accepted']} accepted, {counts['rejected']} rejected, "
        f"{counts['duplicates']} duplicates, {counts['dead_lettered']} dead letters; "
        f"{counts['succeeded']} succeeded, {counts['failed']} failed, {counts['canceled']} canceled; beside them "
        f"{verdict.cancels} cancels, {verdict.deletes} deletes, of which {counts['deleted']} were done, "
        f"{verdict.dry_runs} dry runs; the tenants' rules changed {counts['changes']} times",
        markup=False,
    )
    wrong = [*run.problems, *map(str, verdict.violations)]
    for line in wrong[:_SHOWN]:
        out.print(line, style="red", markup=False)
    if len(wrong) > _SHOWN:
        out.print(f"and {len(wrong) - _SHOWN} more", style="red")
    out.print("nothing is missing, nothing doubled, every unit accounted for" if not wrong else "NOT as it must be")
