"""``easel audit``: who asked for what, what was decided, and by which rules."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from ops.audit.entries import Entry, read_entries
from ops.cli.installation import settings
from ops.cli.terminal import out, print_json
from ops.cli.times import clock, moment
from ops.cli.usage import units
from schemas.connection import KafkaSettings

__all__ = ["audit"]

_STYLES = {"accepted": "cyan", "succeeded": "green", "rejected": "yellow", "failed": "red", "dead_lettered": "red"}


def audit(
    since: Annotated[str, typer.Option(help="From so long ago (90s, 2h, 7d) or a date on; all: everything.")] = "1h",
    tenant: Annotated[str | None, typer.Option(help="This tenant alone.", show_default=False)] = None,
    request: Annotated[str | None, typer.Option(help="This request alone.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON for each entry.")] = False,
) -> None:
    """List every decision: who asked, what for, what was decided, at which cost, and by which rules.

    Read from the results and dead letters, where a decision stands exactly once. They are kept for 7 and 30
    days: whoever needs more keeps what --json prints.
    """
    since_ms = None if since == "all" else int(moment(since).timestamp() * 1000)
    asyncio.run(_list(settings().kafka, since_ms, tenant, request, as_json=as_json))


async def _list(
    kafka: KafkaSettings, since_ms: int | None, tenant: str | None, request: str | None, *, as_json: bool
) -> None:
    async for entry in read_entries(kafka, since_ms):
        if tenant not in (None, entry.tenant) or request not in (None, entry.request_id):
            continue
        if as_json:
            print_json(asdict(entry))
        else:
            out.print(_line(entry))


def _line(entry: Entry) -> Text:
    text = Text(f"{clock(entry.at_ms)}  ", style="dim")
    text.append(f"{entry.decision:<15}", style=_STYLES.get(entry.decision, ""))
    text.append(f"{entry.tenant or '–':<12} {entry.request_id or '–':<36}  ", style="dim")
    said = [entry.code or ""]
    if entry.cost_milliunits is not None:
        said.append(f"{units(entry.cost_milliunits)} units")
    for what, indices in (("blocked", entry.blocked), ("flagged", entry.flagged)):
        if indices:
            said.append(f"{what}: {', '.join(map(str, indices))}")
    if entry.issuer is not None:
        behind = f" for {entry.caller}" if entry.caller else ""
        said.append(f"by {entry.issuer} ({entry.kid}){behind}, tenants.yaml v{entry.tenants_version}")
    if entry.place is not None:
        said.append(entry.place)
    if entry.body_sha256 is not None:
        said.append(f"sha256 {entry.body_sha256[:12]}")
    return text.append(", ".join(filter(None, said)))
