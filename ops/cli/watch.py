"""``easel watch``: follow what is decided and what becomes of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.text import Text

from ops.cli.installation import settings
from ops.cli.letter_lines import letter_as_json, letter_as_line
from ops.cli.price import price_line
from ops.cli.terminal import CommandError, ExitCode, err, out, print_json, run_to_its_end
from ops.cli.times import moment
from ops.cli.usage import units
from ops.dead_letters.letters import read_letter
from producer_api.wire import TenantEvent, read_event
from schemas.connection import KafkaSettings
from schemas.envelope import Envelope
from schemas.events import (
    Accepted,
    CancelAccepted,
    Canceled,
    CancelRefused,
    Deleted,
    DeleteRefused,
    Duplicate,
    Failed,
    GenerationStarted,
    GenerationStep,
    Priced,
    Rejected,
    Succeeded,
)
from schemas.previews import GenerationPreview
from schemas.topics import Topics
from transport.records import Record
from transport.tail import Start, Tail

__all__ = ["watch"]

_STYLES = {
    "accepted": "cyan",
    "succeeded": "green",
    "rejected": "yellow",
    "duplicate": "yellow",
    "canceled": "yellow",
    "failed": "red",
}


def watch(
    tenant: Annotated[str | None, typer.Option(help="This tenant alone.", show_default=False)] = None,
    since: Annotated[
        str | None,
        typer.Option(help="Begin so long ago (90s, 10m, 2h, 7d), on a day (2026-11-01), or at the beginning: all."),
    ] = None,
    progress: Annotated[bool, typer.Option("--progress", help="Each step too.")] = False,
    dead_letters: Annotated[
        bool, typer.Option("--dead-letters", help="The records that were refused unread; all of them without --since.")
    ] = False,
    count: Annotated[int, typer.Option(help="End after so many events; 0: go on until Ctrl-C.", min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON for each event.")] = False,
) -> None:
    """Follow the results of all tenants as they are committed. Ctrl-C ends it."""
    if dead_letters and (tenant or progress):
        raise CommandError("dead letters have no tenant and no steps", "say --dead-letters alone", code=ExitCode.USAGE)
    start: Start = "earliest" if dead_letters and since is None else _start(since)
    kafka = settings().kafka
    if dead_letters:
        run_to_its_end(_follow_dead_letters(kafka, start, count=count, as_json=as_json))
    else:
        run_to_its_end(_follow(kafka, start, tenant, progress=progress, count=count, as_json=as_json))


async def _follow(
    kafka: KafkaSettings, start: Start, tenant: str | None, *, progress: bool, count: int, as_json: bool
) -> None:
    names = Topics(kafka.prefix)
    shown = 0
    async with Tail(kafka, [names.results, *([names.progress] if progress else [])], start=start) as tail:
        _say_following(names.results, as_json=as_json)
        async for batch in tail:
            for record in batch:
                event = read_event(record)
                if event is None or tenant not in {None, event.tenant}:
                    continue
                if as_json:
                    print_json(_as_json(record, event))
                else:
                    out.print(_line(record, event))
                shown += 1
                if shown == count:
                    return


async def _follow_dead_letters(kafka: KafkaSettings, start: Start, *, count: int, as_json: bool) -> None:
    letters = Topics(kafka.prefix).dead_letters
    shown = 0
    async with Tail(kafka, [letters], start=start) as tail:
        _say_following(letters, as_json=as_json)
        async for batch in tail:
            for record in batch:
                letter = read_letter(record)
                if letter is None:
                    continue
                if as_json:
                    print_json(letter_as_json(letter))
                else:
                    out.print(letter_as_line(letter))
                shown += 1
                if shown == count:
                    return


def _say_following(topic: str, *, as_json: bool) -> None:
    """Said once the position is taken: whatever is committed after this line is shown."""
    if not as_json:
        err.print(f"following {topic}; Ctrl-C ends it", style="dim")


def _start(since: str | None) -> Start:
    if since is None:
        return "latest"
    if since == "all":
        return "earliest"
    return datetime.now(tz=UTC) - moment(since)


def _as_json(record: Record, event: TenantEvent) -> dict[str, Any]:
    id_ = Envelope.read(record.headers, record.value).id
    return {"time_ms": record.timestamp_ms, "id": id_, "type": event.TYPE, "data": event.model_dump(mode="json")}


def _line(record: Record, event: TenantEvent) -> Text:
    clock = datetime.fromtimestamp(record.timestamp_ms / 1000, tz=UTC).astimezone()
    name = event.TYPE.split(".")[-2]
    text = Text(f"{clock:%H:%M:%S}  ", style="dim")
    text.append(f"{name.replace('_', ' '):<16}", style=_STYLES.get(name, ""))
    text.append(f"{event.tenant:<12} {event.request_id}  ", style="dim")
    return text.append(_detail(event))


def _detail(event: TenantEvent) -> str:
    match event:
        case Accepted():
            return f"{event.model}, holds {units(event.cost_milliunits)} units, {event.position} before it"
        case Rejected():
            wait = f"; again in {event.retry_after_s:.1f} s" if event.retry_after_s is not None else ""
            return f"{event.error.code}: {event.error.message}{wait}"
        case Duplicate():
            if event.error:
                return f"{event.error.code}: {event.error.message}"
            return f"the same as {event.of}, {event.state}" if event.of else f"known, and {event.state}"
        case Priced():
            return price_line(event)
        case CancelAccepted():
            return f"it was {event.state}"
        case CancelRefused() | DeleteRefused():
            return f"{event.error.code}: {event.error.message}"
        case Deleted():
            return f"{event.objects} object{'s' * (event.objects != 1)}"
        case Succeeded():
            pictures = f"{len(event.outputs)} picture{'s' * (len(event.outputs) != 1)}"
            return f"{pictures}, {units(event.cost_milliunits)} units, {event.engine_ms / 1000:.1f} s of the engine"
        case Failed():
            return f"{event.error.code}: {event.error.message}; {units(event.refunded_milliunits)} units refunded"
        case Canceled():
            return f"{units(event.cost_milliunits)} units, {units(event.refunded_milliunits)} refunded"
        case GenerationStep():
            return f"step {event.step} of {event.steps}"
        case GenerationPreview():
            kilobytes = len(event.image_base64) * 3 / 4 / 1000
            return f"picture {event.index} after step {event.step} of {event.steps}: a JPEG of {kilobytes:.1f} kB"
        case GenerationStarted():
            return f"{event.steps} steps"
