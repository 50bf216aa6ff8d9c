"""``easel model``: the models of the catalogue, and the small one that comes with easel."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from ops.cli import catalogue
from ops.cli.terminal import EPILOG, ExitCode, epilog, err, out, print_json

app = typer.Typer(
    no_args_is_help=True,
    help="The models that can be asked for; and easel-tiny, which can be scored and trained again.",
    epilog=EPILOG,
)

app.command("list", epilog=epilog("easel model list"))(catalogue.list_models)
app.command("info", epilog=epilog("easel model info easel-tiny"))(catalogue.info)
app.command("check", epilog=epilog("easel model check models.yaml"))(catalogue.check)
app.command("warm", epilog=epilog("easel model warm easel-tiny"))(catalogue.warm)

_BARS = {"colour": 0.95, "shape": 0.95, "background": 0.95, "position": 0.95, "two_objects": 0.85}
"""What the model must reach on prompts whose combinations it never saw."""


@app.command(epilog=epilog("easel model score", "easel model score --json"))
def score(
    folder: Annotated[Path, typer.Option("--model", help="A diffusers pipeline.")] = Path("models/easel-tiny"),
    prompts: Annotated[int, typer.Option(help="Prompts, from combinations held out of training.", min=10)] = 300,
    steps: Annotated[int, typer.Option(help="Denoising steps.", min=1, max=100)] = 12,
    seed: Annotated[int, typer.Option(help="The same seed scores the same pictures.", min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON.")] = False,
) -> None:
    """Draw unseen prompts and measure how many pictures show what was asked for. Exit code 1 below the bars."""
    from ops.tiny_model.score import score_model

    with Progress(console=err, transient=True, disable=not err.is_terminal) as bars:
        bar = bars.add_task("drawing and judging", total=prompts)
        found = score_model(
            folder, prompts, steps, seed, on_progress=lambda done, total: bars.update(bar, completed=done, total=total)
        )
    shares = {name: float(found[name]) for name in _BARS}
    if as_json:
        print_json(dict(found))
    for name, bar_at in _BARS.items() if not as_json else ():
        colour = "green" if shares[name] >= bar_at else "red"
        out.print(f"{name:<12}[{colour}]{shares[name]:7.1%}[/]  (at least {bar_at:.0%})")
    if any(shares[name] < bar_at for name, bar_at in _BARS.items()):
        raise typer.Exit(ExitCode.FAILED)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    epilog=epilog("easel model train"),
)
def train(context: typer.Context) -> None:
    """Train easel-tiny again, from nothing to a scored pipeline (hours on two cores; goes on where it stopped).

    Takes the options of `python -m ops.tiny_model.train`; --help lists them.
    """
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "ops.tiny_model.train", *context.args])  # noqa: S606
