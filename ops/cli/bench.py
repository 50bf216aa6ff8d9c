"""``easel bench``: how fast this is, as ratios to bare loops that run beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ops.cli.terminal import CommandError, ExitCode, epilog, err, out, print_json
from schemas.catalog import ModelCard, load_catalog
from schemas.settings import Settings

if TYPE_CHECKING:
    from ops.bench.report import Progress as Told
    from ops.bench.report import Report

app = typer.Typer(
    invoke_without_command=True,
    help="Measure easel beside bare loops of the same work. Without a bench's name: all of them but the soak.",
    epilog=epilog("easel bench", "easel bench admission", "easel bench engine --pairs 10 --json"),
)

_RESULTS = Path("bench-results")
_ROUNDS = 5
_REMEMBERED = 200_000

Json = Annotated[bool, typer.Option("--json", help="Only the last line: JSON, one line a bench.")]


@app.callback()
def _all(context: typer.Context, as_json: Json = False) -> None:
    if context.invoked_subcommand is not None:
        if as_json:
            raise typer.BadParameter(f"write it last: easel bench {context.invoked_subcommand} --json")
        return
    for bench in (admission, engine, continuous, pipeline, restore, storm, fairness, http, sse):
        bench(as_json=as_json)


@app.command(epilog=epilog("easel bench admission", "easel bench admission --seconds 5 --json"))
def admission(
    seconds: Annotated[float, typer.Option(help="Length of each of the 30 measurements.", min=0.01)] = 1.0,
    as_json: Json = False,
) -> None:
    """Requests a second that one process decides, beside PyJWT and json alone. Needs no broker."""
    from ops.bench.admission import PACKAGES, bench_admission

    _run("admission", PACKAGES, lambda told: bench_admission(seconds, told), as_json=as_json)


@app.command(epilog=epilog("easel bench engine", "easel bench engine --pairs 10"))
def engine(
    pairs: Annotated[int, typer.Option(help="Pairs of engine and bare loop at each batch size.", min=1)] = 10,
    rounds: Annotated[int, typer.Option(help="Rounds of all that serve clients.", min=1)] = 3,
    share: Annotated[
        float, typer.Option(help="Part of a round's requests, for a first look.", min=0.01, max=1.0)
    ] = 1.0,
    as_json: Json = False,
) -> None:
    """Pictures of easel-tiny: the engine beside a bare loop, and all of easel beside that and the usual web service.

    Starts a broker and a store.
    """
    from ops.bench.engine import PACKAGES, Plan, bench_engine

    card, plan = _card_of_tiny(), Plan(pairs=pairs, rounds=rounds, share=share)
    _run("engine", PACKAGES, lambda told: asyncio.run(bench_engine(card, plan, told)), as_json=as_json)


@app.command(epilog=epilog("easel bench continuous", "easel bench continuous --rounds 0"))
def continuous(
    pictures: Annotated[int, typer.Option(help="Pictures of each run.", min=20)] = 150,
    rounds: Annotated[int, typer.Option(help="Real runs of both loops at each load; 0: none.", min=0)] = 3,
    as_json: Json = False,
) -> None:
    """Pictures that join and leave a batch at any step, beside static batches: latency of short ones, and the rate."""
    from ops.bench.continuous import PACKAGES, Plan, bench_continuous

    card, plan = _card_of_tiny(), Plan(pictures=pictures, rounds=rounds)
    _run("continuous", PACKAGES, lambda told: asyncio.run(bench_continuous(card, plan, told)), as_json=as_json)


@app.command(epilog=epilog("easel bench pipeline", "easel bench pipeline --rounds 1 --requests 1000 --json"))
def pipeline(
    requests: Annotated[int, typer.Option(help="Requests in each flood.", min=8)] = 5_000,
    seconds: Annotated[float, typer.Option(help="Length of each measurement at 20 a second.", min=0.1)] = 10.0,
    rounds: Annotated[int, typer.Option(help="Rounds of both loops under each condition.", min=1)] = _ROUNDS,
    remembered: Annotated[int, typer.Option(help="Ended requests in the full ledger.", min=0)] = _REMEMBERED,
    as_json: Json = False,
) -> None:
    """Signed requests to terminal events through everything, beside a bare loop. Starts a broker and a store."""
    from ops.bench.pipeline import PACKAGES, Plan, bench_pipeline

    plan = Plan(requests=requests, seconds=seconds, rounds=rounds, remembered=remembered)
    _run("pipeline", PACKAGES, lambda told: bench_pipeline(plan, told), as_json=as_json)


@app.command(epilog=epilog("easel bench restore", "easel bench restore --requests 20000 --json"))
def restore(
    requests: Annotated[int, typer.Option(help="Requests on one partition.", min=1)] = _REMEMBERED,
    rounds: Annotated[int, typer.Option(help="Restores of each kind.", min=1)] = _ROUNDS,
    as_json: Json = False,
) -> None:
    """How soon a partition's memory is back from its ledger, and the bytes of each request in it. Starts a broker."""
    from ops.bench.restore import PACKAGES, bench_restore

    _run("restore", PACKAGES, lambda told: bench_restore(requests, rounds, told), as_json=as_json)


@app.command(epilog=epilog("easel bench storm", "easel bench storm --forged 1000 --rounds 1"))
def storm(
    forged: Annotated[int, typer.Option(help="Bad requests in each round, at 1,000 a second.", min=100)] = 10_000,
    rounds: Annotated[int, typer.Option(help="Rounds, each alone and beside the storm.", min=1)] = _ROUNDS,
    as_json: Json = False,
) -> None:
    """What forged and malformed requests do to the latency of a good tenant beside them. Starts a broker."""
    from ops.bench.storm import PACKAGES, bench_storm

    _run("storm", PACKAGES, lambda told: bench_storm(forged, rounds, told), as_json=as_json)


@app.command(epilog=epilog("easel bench soak", "easel bench soak --minutes 120 --per-s 50"))
def soak(
    minutes: Annotated[float, typer.Option(help="How long.", min=0.5)] = 30.0,
    per_s: Annotated[float, typer.Option(help="Requests a second.", min=1.0)] = 20.0,
    as_json: Json = False,
) -> None:
    """A steady load, and whether latency, memory or ledger grow. Starts a broker and a store; leaves a plot."""
    from ops.bench.soak import PACKAGES, bench_soak

    _run("soak", PACKAGES, lambda told: bench_soak(minutes, per_s, _RESULTS, told), as_json=as_json)


@app.command(epilog=epilog("easel bench http", "easel bench http --seconds 2 --rounds 1 --json"))
def http(
    seconds: Annotated[float, typer.Option(help="Length of each measurement.", min=0.5)] = 5.0,
    rounds: Annotated[int, typer.Option(help="Rounds of both services.", min=1)] = _ROUNDS,
    as_json: Json = False,
) -> None:
    """Answers over HTTP, each admission's decision, beside a bare service that publishes. Starts a broker.

    Exit code 1 below a bar.
    """
    from ops.bench.http.bench import PACKAGES, Plan, bench_http

    _run("http", PACKAGES, lambda told: bench_http(Plan(seconds=seconds, rounds=rounds), told), as_json=as_json)


@app.command(epilog=epilog("easel bench sse", "easel bench sse --streams 300 --rounds 3"))
def sse(
    streams: Annotated[int, typer.Option(help="Readers, each of a task of its own.", min=10)] = 2_000,
    rounds: Annotated[int, typer.Option(help="Steps of each task.", min=2)] = 20,
    as_json: Json = False,
) -> None:
    """Streams of events that are open at once on one process: is each told all, and is memory flat? Starts a broker.

    Exit code 1 below a bar.
    """
    from ops.bench.sse.bench import PACKAGES, Plan, bench_sse

    _run("sse", PACKAGES, lambda told: bench_sse(Plan(streams=streams, rounds=rounds), told), as_json=as_json)


@app.command(epilog=epilog("easel bench fairness", "easel bench fairness --seconds 120 --json"))
def fairness(
    seconds: Annotated[float, typer.Option(help="Virtual seconds of each busy fleet.", min=10.0)] = 60.0,
    as_json: Json = False,
) -> None:
    """Who gets how much of a busy fleet: the decisions in virtual time, and a real run. Exit code 1 below a bar."""
    from ops.bench.fairness import PACKAGES, bench_fairness

    _run("fairness", PACKAGES, lambda told: bench_fairness(seconds, told), as_json=as_json)


def _card_of_tiny() -> ModelCard:
    from ops.bench.engine import MODEL

    path = Settings().models
    card = load_catalog(path).models.get(MODEL)
    if card is None:
        remedy = "run this in a clone of easel, or set EASEL_MODELS to its models.yaml"
        raise CommandError(f"{path} has no {MODEL}", remedy, code=ExitCode.SETUP)
    return card


def _run(name: str, packages: Iterable[str], bench: Callable[[Told], Report], *, as_json: bool) -> None:
    from ops.bench.report import BenchError, conditions, save

    found = conditions(packages)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bars:
        bar = bars.add_task(name, total=None)
        try:
            report = bench(lambda done, total: bars.update(bar, completed=done, total=total))
        except BenchError as error:
            raise CommandError(str(error)) from error
    path = save(report, found, _RESULTS)
    if not as_json:
        loads = " ".join(f"{load:g}" for load in found["load_average_before"])
        out.print(f"{found['cpu']}, {found['cores']} cores, load average before: {loads}", style="dim", markup=False)
        for table in report.tables:
            out.print(table)
            out.print()
        err.print(f"every measurement, and the conditions: {path}", style="dim", markup=False)
    print_json(dict(report.line))
    if report.missed:
        raise CommandError("; ".join(report.missed), "the tables and the file of results say by how much")
