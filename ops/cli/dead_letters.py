"""``easel dead-letters``: what could not be processed, why, and giving it to admission again."""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from contextlib import aclosing
from typing import Annotated, Any

import typer

from ops.cli.installation import settings, settings_of_installation
from ops.cli.letter_lines import letter_as_json, letter_in_full, letter_in_full_as_json, letter_table
from ops.cli.terminal import EPILOG, CommandError, ExitCode, epilog, err, out, print_json, print_table
from ops.cli.times import moment
from ops.dead_letters.letters import Letter, Place
from ops.dead_letters.reading import Selection, read_letters, read_one, read_replays
from ops.dead_letters.replay import Replayer, Rules, Verdict
from schemas.connection import KafkaSettings
from schemas.tenants import load_tenants
from schemas.topics import Topics
from transport.errors import Doubt

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, help="Look at what could not be processed, and give it to admission again.", epilog=EPILOG
)

_Codes = Annotated[list[str] | None, typer.Option("--code", help="This cause alone; may be repeated.")]
_Topic = Annotated[
    list[str] | None, typer.Option("--topic", help="From this topic alone, such as easel.requests; may be repeated.")
]
_Tenant = Annotated[
    list[str] | None, typer.Option("--tenant", help="Whose tokens name this tenant (unverified); may be repeated.")
]
_Places = Annotated[list[str] | None, typer.Option("--place", help="This letter alone, such as 3@17; may be repeated.")]
_Since = Annotated[
    str | None, typer.Option(help="Those since then: 90s, 10m, 2h, 7d ago, or 2026-11-01.", show_default=False)
]
_JSON = Annotated[bool, typer.Option("--json", help="One line of JSON for each letter.")]


@app.command("list", epilog=epilog("easel dead-letters list --since 1d", "easel dead-letters list --code key_unknown"))
def list_(
    code: _Codes = None,
    topic: _Topic = None,
    tenant: _Tenant = None,
    place: _Places = None,
    since: _Since = None,
    limit: Annotated[int, typer.Option(help="The newest so many; 0: all.", min=0)] = 50,
    as_json: _JSON = False,
) -> None:
    """List dead letters, the newest last, and count them by their cause."""
    kafka = settings().kafka
    selection = _selection(code, topic, tenant, place, since)
    newest, counts, replayed = asyncio.run(_newest(kafka, selection, limit))
    if as_json:
        for letter in newest:
            shown = {"replayed_ms": replayed.get(letter.place), "tenant_unverified": letter.tenant}
            print_json({**letter_as_json(letter), **shown})
        return
    if newest:
        print_table(letter_table(newest, replayed, kafka.prefix))
    err.print(_counted(counts, len(newest)), style="dim", markup=False)


@app.command(epilog=epilog("easel dead-letters show 3@17", "easel dead-letters show 3@17 --body"))
def show(
    place: Annotated[str, typer.Argument(help="Where it lies, as `easel dead-letters list` says: 3@17.")],
    body: Annotated[bool, typer.Option("--body", help="What was asked too, and the whole signature.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of text.")] = False,
) -> None:
    """Show a dead letter: its cause, where it comes from, its headers, and what its token says of itself."""
    kafka = settings().kafka
    where = _place(place)
    letter, replayed_ms = asyncio.run(_one(kafka, where))
    if as_json:
        print_json(letter_in_full_as_json(letter, replayed_ms, body=body))
        return
    for name, text in letter_in_full(letter, replayed_ms, body=body):
        out.print(f"{name + ':':<16}{text}", markup=False)


@app.command(
    epilog=epilog(
        "easel dead-letters replay --code key_unknown --since 1d --dry-run", "easel dead-letters replay --place 3@17"
    )
)
def replay(
    code: _Codes = None,
    topic: _Topic = None,
    tenant: _Tenant = None,
    place: _Places = None,
    since: _Since = None,
    everything: Annotated[bool, typer.Option("--all", help="Where nothing else says which ones: all.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Those too that were replayed before.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; say what would become of each.")] = False,
    as_json: _JSON = False,
) -> None:
    """Give requests that could not be processed to admission again, once their cause is mended.

    Each keeps its id and its signature, and is judged by the time at which the broker first had it. One that admission
    knows is answered `duplicate`: nothing is made or charged twice. What can't be replayed is named, with the reason,
    and makes the exit code 1.
    """
    selection = _selection(code, topic, tenant, place, since)
    if selection.is_everything and not everything:
        raise CommandError("it is not said which ones", "say --code, --place, --since …, or --all", code=ExitCode.USAGE)
    found = settings_of_installation()
    rules = Rules(found.kafka, found.installation, load_tenants(found.tenants))
    refused = asyncio.run(_replay(rules, selection, again=again, dry_run=dry_run, as_json=as_json))
    if refused:
        raise typer.Exit(ExitCode.FAILED)


def _selection(
    codes: list[str] | None,
    topics: list[str] | None,
    tenants: list[str] | None,
    places: list[str] | None,
    since: str | None,
) -> Selection:
    return Selection(
        codes=frozenset(codes or ()),
        topics=frozenset(topics or ()),
        tenants=frozenset(tenants or ()),
        places=frozenset(map(_place, places or ())),
        since_ms=None if since is None else int(moment(since).timestamp() * 1000),
    )


def _place(text: str) -> Place:
    try:
        return Place.parse(text)
    except ValueError as error:
        raise CommandError(str(error), code=ExitCode.USAGE) from None


async def _newest(
    kafka: KafkaSettings, selection: Selection, limit: int
) -> tuple[list[Letter], Counter[str], dict[Place, int]]:
    kept: list[tuple[int, Place, Letter]] = []
    counts: Counter[str] = Counter()
    async with aclosing(read_letters(kafka, selection)) as letters:
        async for letter in letters:
            counts[str(letter.content.cause.code)] += 1
            heapq.heappush(kept, (letter.at_ms, letter.place, letter))
            if limit and len(kept) > limit:
                heapq.heappop(kept)
    replayed = await read_replays(kafka, selection.since_ms) if kept else {}
    return [letter for _, _, letter in sorted(kept, key=lambda one: one[:2])], counts, replayed


def _counted(counts: Counter[str], shown: int) -> str:
    total = counts.total()
    if not total:
        return "no dead letters"
    by_code = ", ".join(f"{number:,} {code}" for code, number in counts.most_common())
    rest = f"; the newest {shown:,} are shown, --limit says how many" if shown < total else ""
    return f"{total:,} dead letter{'s' * (total != 1)}: {by_code}{rest}. Tenants are as the tokens say, unverified."


async def _one(kafka: KafkaSettings, place: Place) -> tuple[Letter, int | None]:
    letter = await read_one(kafka, place)
    if letter is None:
        topic = Topics(kafka.prefix).dead_letters
        raise CommandError(f"there is no dead letter at {place} of {topic}", "`easel dead-letters list` names them")
    return letter, (await read_replays(kafka, letter.at_ms)).get(place)


async def _replay(rules: Rules, selection: Selection, *, again: bool, dry_run: bool, as_json: bool) -> int:
    """How many were refused."""
    outcomes: Counter[str] = Counter()
    reasons: dict[str, tuple[int, Verdict]] = {}
    replayed = await read_replays(rules.kafka, selection.since_ms)
    try:
        async with (
            Replayer(rules, replayed, again=again, dry_run=dry_run) as replayer,
            aclosing(read_letters(rules.kafka, selection)) as letters,
            aclosing(replayer.run(letters)) as verdicts,
        ):
            async for verdict in verdicts:
                outcome = _outcome(verdict, dry_run=dry_run)
                outcomes[outcome] += 1
                if as_json:
                    print_json(_verdict_as_json(verdict, outcome))
                elif verdict.replay is not None:
                    replay = verdict.replay
                    out.print(f"{replay.place}  {outcome}  {replay.tenant}  {replay.request_id}", markup=False)
                elif verdict.error is not None:
                    number, first = reasons.get(str(verdict.error.code), (0, verdict))
                    reasons[str(verdict.error.code)] = number + 1, first
    except Doubt as error:
        raise CommandError(
            f"it is not known whether the last ones were replayed ({error.what})",
            "run it again: what was replayed has its note, and is skipped",
        ) from None
    if not as_json:
        _sum_up(outcomes, reasons, dry_run=dry_run)
    return outcomes["refused"]


def _outcome(verdict: Verdict, *, dry_run: bool) -> str:
    if verdict.error is not None:
        return "refused"
    if verdict.replay is None:
        return "skipped"
    return "would be replayed" if dry_run else "replayed"


def _verdict_as_json(verdict: Verdict, outcome: str) -> dict[str, Any]:
    return {
        "place": str(verdict.letter.place),
        "outcome": outcome,
        "tenant": verdict.replay.tenant if verdict.replay else None,
        "request_id": verdict.replay.request_id if verdict.replay else None,
        "replayed_before_ms": verdict.replayed_ms,
        "error": verdict.error.model_dump(mode="json") if verdict.error else None,
    }


def _sum_up(outcomes: Counter[str], reasons: dict[str, tuple[int, Verdict]], *, dry_run: bool) -> None:
    if not outcomes:
        err.print("no dead letter is meant by this", style="dim")
    for code, (number, first) in sorted(reasons.items()):
        message = first.error.message if first.error else ""
        err.print(f"refused {number:,}: {code}, such as {first.letter.place}: {message}", style="red", markup=False)
    if skipped := outcomes["skipped"]:
        err.print(f"skipped {skipped:,} that were replayed before; --again replays them too", style="dim")
    done = outcomes["would be replayed" if dry_run else "replayed"]
    if done and dry_run:
        err.print(f"{done:,} would be replayed; nothing was changed", style="dim")
    elif done:
        err.print(f"replayed {done:,}; `easel watch --since 1m` shows what is answered", style="dim")
