"""The command line put together."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from ops.cli import (
    asyncapi,
    audit,
    bench,
    chaos,
    dead_letters,
    demo,
    doctor,
    hostile,
    keys,
    ledger,
    local,
    model,
    price,
    removal,
    schema,
    serve,
    store,
    submit,
    top,
    topics,
    trace,
    usage,
    watch,
)
from ops.cli.installation import adopt, is_set_up
from ops.cli.terminal import EPILOG, ExitCode, epilog, err, explain, out, quiet_clients, treat_sigterm_as_ctrl_c

__all__ = ["app", "run"]

app = typer.Typer(
    name="easel",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EPILOG,
    help="Signed request events on Kafka in, pictures in an object store and completion events out.",
)

_HERE = "On this machine"
_SERVICES = "Services"
_USE = "Use"
_CARE = "Care"


app.command("demo", rich_help_panel=_HERE, epilog=epilog("easel demo", "easel demo --keep", "easel demo --json"))(
    demo.demo
)
app.command("up", rich_help_panel=_HERE, epilog=epilog("easel up && easel topics && easel all"))(local.up)
app.command("down", rich_help_panel=_HERE, epilog=epilog("easel down", "easel down --data .easel/demo"))(local.down)
app.command("status", rich_help_panel=_HERE, epilog=epilog("easel status", "easel status --json"))(local.status)
app.command("doctor", rich_help_panel=_HERE, epilog=epilog("easel doctor", "easel doctor --json"))(doctor.doctor)

app.command("all", rich_help_panel=_SERVICES, epilog=epilog("easel all"))(serve.all_)
app.command("admission", rich_help_panel=_SERVICES, epilog=epilog("easel admission"))(serve.admission)
app.command("worker", rich_help_panel=_SERVICES, epilog=epilog("EASEL_GENERATION_POOL=large easel worker"))(
    serve.worker
)
app.command("webhooks", rich_help_panel=_SERVICES, epilog=epilog("easel webhooks"))(serve.webhooks)
app.command("api", rich_help_panel=_SERVICES, epilog=epilog("EASEL_API_PORT=8000 easel api"))(serve.api)

app.command(
    "submit",
    rich_help_panel=_USE,
    epilog=epilog(
        'easel submit "a small red circle on a white background"',
        'easel submit --tenant bureau --images 4 "a blue star"',
    ),
)(submit.submit)
app.command(
    "price",
    rich_help_panel=_USE,
    epilog=epilog('easel price "a blue star" --images 4', 'easel price "a blue star" --tenant bureau --json'),
)(price.price)
app.command("cancel", rich_help_panel=_USE, epilog=epilog("easel cancel 019aa4d2-6c00-7000-8000-000000000001"))(
    removal.cancel
)
app.command("delete", rich_help_panel=_USE, epilog=epilog("easel delete 019aa4d2-6c00-7000-8000-000000000001 --yes"))(
    removal.delete
)
app.command(
    "watch",
    rich_help_panel=_USE,
    epilog=epilog("easel watch --since 10m", "easel watch --json | jq .type", "easel watch --dead-letters"),
)(watch.watch)
app.command(
    "usage",
    rich_help_panel=_USE,
    epilog=epilog("easel usage", "easel usage --since 7d --by tenant", "easel usage --since 2026-11-01 --csv"),
)(usage.usage)

app.command("top", rich_help_panel=_CARE, epilog=epilog("easel top", "easel top --once --json"))(top.top)
app.command(
    "audit",
    rich_help_panel=_CARE,
    epilog=epilog("easel audit", "easel audit --since 7d --tenant atelier", "easel audit --since 2026-11-01 --json"),
)(audit.audit)
app.add_typer(topics.app, name="topics", rich_help_panel=_CARE)
app.command("store", rich_help_panel=_CARE, epilog=epilog("easel store", "easel store --sources-days 7"))(store.store)
app.add_typer(ledger.app, name="ledger", rich_help_panel=_CARE)
app.add_typer(dead_letters.app, name="dead-letters", rich_help_panel=_CARE)
app.add_typer(keys.app, name="keys", rich_help_panel=_CARE)
app.add_typer(model.app, name="model", rich_help_panel=_CARE)
app.add_typer(bench.app, name="bench", rich_help_panel=_CARE)
app.command("chaos", rich_help_panel=_CARE, epilog=epilog("easel chaos", "easel chaos --seconds 600 --seed 7 --json"))(
    chaos.chaos
)
app.command("hostile", rich_help_panel=_CARE, epilog=epilog("easel hostile", "easel hostile --events 50000 --seed 7"))(
    hostile.hostile
)
app.command(
    "asyncapi",
    rich_help_panel=_CARE,
    epilog=epilog("easel asyncapi", "easel asyncapi --write docs", "easel asyncapi --against docs/asyncapi.yaml"),
)(asyncapi.asyncapi)
app.command("trace", rich_help_panel=_CARE, epilog=epilog("easel trace --out trace.png"))(trace.trace)
app.command("schema", rich_help_panel=_CARE, epilog=epilog("easel schema tenants"))(schema.schema)


@app.command("version", rich_help_panel=_CARE, epilog=EPILOG)
def show_version() -> None:
    """Print the version."""
    try:
        out.print(version("easel"))
    except PackageNotFoundError:
        out.print("not installed: run from a source tree")


def _version_flag(given: bool) -> None:
    if given:
        show_version()
        raise typer.Exit


@app.callback()
def _before(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", is_eager=True, callback=_version_flag)
    ] = False,
) -> None:
    # Before a subcommand's options are read: some of them default to a variable of the local stack.
    adopt()


def run() -> int:
    """Run ``sys.argv`` and return the exit code; every anticipated error is one line on standard error."""
    treat_sigterm_as_ctrl_c()
    quiet_clients()
    try:
        app(prog_name="easel")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else ExitCode.FAILED
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe has gone: nothing is left to say, also not at exit.
        sys.stdout = None
        return ExitCode.OK
    except BaseExceptionGroup as several:
        return _fail(several.exceptions[0])
    except Exception as error:
        return _fail(error)
    return ExitCode.OK


def _fail(error: BaseException) -> int:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    line, code = explain(error)
    err.print(f"easel: {line}", style="red", markup=False)
    if code == ExitCode.UNAVAILABLE and not is_set_up():
        err.print("`easel up` starts a Kafka and an object store here", style="dim")
    if code in {ExitCode.SETUP, ExitCode.UNAVAILABLE}:
        err.print("`easel doctor` looks at everything that is needed", style="dim")
    return code
