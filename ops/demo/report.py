"""What the demo shows at its end: a contact sheet, what became of each request, the accounts, and what to try next."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ops.cli.accounts import Account, Accounts
from ops.cli.installation import DATA_VARIABLE
from ops.cli.terminal import this_command
from ops.cli.usage import units, usage_table
from ops.demo.observer import Observed, Observer, pictures_of
from ops.demo.plan import BY_HTTP, BY_PLAIN_CLIENT, BY_SDK, TENANTS, Planned, requests_of
from ops.demo.run import Demo
from ops.demo.sheet import Colour, Picture, Row, contact_sheet
from ops.demo.verdict import Numbers
from schemas.settings import Settings

__all__ = ["show"]

_LEAST_PROMPT_CHARS = 24
_OTHER_COLUMNS = 54

_WAYS: Mapping[str, tuple[str, Colour]] = {
    BY_SDK: ("the SDK over Kafka, EdDSA", (201, 72, 66)),
    BY_PLAIN_CLIENT: ("plain aiokafka + PyJWT, ES256", (52, 113, 196)),
    BY_HTTP: ("the HTTP API, which signs with HS256", (46, 150, 92)),
}


def _sheet(observer: Observer, contents: Mapping[str, bytes], note: str) -> bytes:
    """The contact sheet as a PNG. ``contents``: object key → picture."""
    rows: list[Row] = []
    for tenant in TENANTS:
        pictures: list[Picture] = []
        for index, planned in enumerate(requests_of(tenant.id)):
            made = None if planned.repeats is not None else pictures_of(observer.about(tenant.id, index))
            found = [contents.get(output.key) for output in made.outputs] if made else []
            pictures += [Picture(content, str(planned.data["prompt"])) for content in found if content is not None]
        way, colour = _WAYS[tenant.id]
        rows.append(Row(tenant.id, f"by {way}", colour, pictures))
    return contact_sheet("easel", note, rows)


def _outcomes(observer: Observer, width: int) -> Table:
    """What became of each of the requests, in at most ``width`` columns where that can be."""
    prompt_chars = max(_LEAST_PROMPT_CHARS, width - _OTHER_COLUMNS)
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("tenant", no_wrap=True)
    table.add_column("request", no_wrap=True)
    table.add_column("became", no_wrap=True)
    table.add_column("pictures", no_wrap=True, justify="right")
    table.add_column("units", no_wrap=True, justify="right")
    for tenant in TENANTS:
        for index, planned in enumerate(requests_of(tenant.id)):
            name = tenant.id if index == 0 else ""
            became = observer.outcome(planned, index) or "did not end"
            made = pictures_of(observer.about(tenant.id, index)) if became == "succeeded" else None
            style = "green" if made else "yellow" if became == planned.ends else "bold red"
            table.add_row(
                name,
                textwrap.shorten(str(planned.data["prompt"]), prompt_chars, placeholder=" …"),
                Text(became, style=style),
                str(len(made.outputs)) if made else "",
                units(made.cost_milliunits) if made else "",
            )
    return table


def _refusals(console: Console, observer: Observer) -> None:
    """Why some of the requests came to nothing, as their tenants were told."""
    console.print("\nrefused", style="bold")
    for tenant in TENANTS:
        for index, planned in enumerate(requests_of(tenant.id)):
            reason = _reason(observer.about(tenant.id, index), planned)
            if reason:
                console.print(f"  {tenant.id:<9} {reason}", markup=False)


def _reason(known: Observed, planned: Planned) -> str:
    if planned.repeats is not None and known.duplicates:
        return f"duplicate: the id and body of its first request again; that one was {known.duplicates[0].state}"
    if known.dead is not None:
        return f"dead letter, {known.dead.cause.code}: {known.dead.cause.message}"
    if known.rejected is not None:
        return f"rejected, {known.rejected.error.code}: {known.rejected.error.message}"
    return ""


def show(console: Console, run: Demo, numbers: Numbers, folder: Path, directory: Path, *, kept: bool) -> None:
    """Save pictures and contact sheet in ``folder``, and say everything that there is to say."""
    console.print()
    console.print(_outcomes(run.observer, console.width), soft_wrap=False)
    _refusals(console, run.observer)
    console.print()
    _show_accounts(console, run.accounts, balanced=run.balanced)
    refused = numbers.rejected + numbers.duplicates + numbers.dead_lettered
    note = (
        f"{numbers.requests} requests of three tenants through Kafka: "
        f"{numbers.succeeded} made {numbers.images} pictures in {numbers.seconds:.0f} s, {refused} were refused"
    )
    sheet = _save(run, folder, note)
    console.print(f"\ncontact sheet   {sheet}", style="bold", markup=False)
    console.print(
        f"pictures        {folder.resolve()}, and in the store's bucket {run.settings.store.bucket}", markup=False
    )
    console.print(f"took            {numbers.seconds:.0f} s", markup=False)
    for problem in run.problems:
        console.print(f"wrong: {problem}", style="bold red", markup=False)
    if not run.problems:
        _next_steps(console, run.settings, directory, kept=kept)


def _save(run: Demo, folder: Path, note: str) -> Path:
    for key, content in run.pictures.items():
        _, tenant, *_, request_id, name = key.split("/")
        path = folder / tenant / f"{request_id}-{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    sheet = folder / "contact-sheet.png"
    sheet.parent.mkdir(parents=True, exist_ok=True)
    sheet.write_bytes(_sheet(run.observer, run.pictures, note))
    return sheet.resolve()


def _show_accounts(console: Console, accounts: Accounts, *, balanced: bool) -> None:
    """The usage table, and its balance over all tenants."""
    months = [account for account in accounts.accounts() if len(account.period) == len("2026-11")]
    days: Sequence[Account] = [account for account in accounts.accounts() if account not in months]
    console.print(usage_table(list(days)), soft_wrap=False)
    totals = [accounts.totals(tenant.id) for tenant in TENANTS]
    held, settled = sum(t.held for t in totals), sum(t.settled for t in totals)
    refunded, outstanding = sum(t.refunded for t in totals), sum(t.outstanding for t in totals)
    said = "and so say the results" if balanced else "which is not what the entries or the results say"
    console.print(
        f"held {units(held)} = settled {units(settled)} + refunded {units(refunded)} + "
        f"outstanding {units(outstanding)}, {said}",
        style="green" if balanced else "bold red",
    )


def _next_steps(console: Console, settings: Settings, directory: Path, *, kept: bool) -> None:
    """What a newcomer may do now."""
    easel = this_command()
    submit = f'{easel} submit "a small yellow star above a large purple heart on a white background"'
    if kept:
        here = directory.relative_to(Path.cwd()) if directory.is_relative_to(Path.cwd()) else directory
        console.print(f"\nIt keeps running. Its API: http://{settings.api.host}:{settings.api.port}/docs", style="bold")
        for line in (f"{submit} --images 2", f"{easel} watch --since 10m", f"{easel} usage", f"{easel} down"):
            console.print(f"  {DATA_VARIABLE}={here} {line}", markup=False)
        return
    console.print("\nTo go on:", style="bold")
    for line, what in (
        (f"{easel} demo --keep", "the same, and it keeps running"),
        (f"{easel} up && {easel} topics && {easel} all", "a stack of your own; in another terminal:"),
        (submit, ""),
        ("less ops/demo/plain_client.py", "how another system publishes and subscribes"),
    ):
        console.print(f"  {line}" + (f"   # {what}" if what else ""), markup=False)
