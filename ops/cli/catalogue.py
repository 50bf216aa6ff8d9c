"""``easel model list|info|check|warm``: what the catalogue offers, and whether this machine can run it."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from consumer.engine.contract import Batch, EngineError, Item, Shape
from consumer.engine.process import EngineLostError, EngineProcess
from consumer.engine.weights import check_pipeline, pipeline_folder, unusable_files, weights_revision
from ops.cli.terminal import CommandError, ExitCode, err, out, print_json
from schemas.catalog import Catalog, HubPipeline, ModelCard, load_catalog
from schemas.requests import GenerationRequest
from schemas.settings import Settings

__all__ = ["check", "info", "list_models", "warm"]

_ID = "00000000-0000-7000-8000-000000000000"
_HUB_FILES = ["*.json", "*.txt", "*.model", "*.jinja", "*.safetensors"]
"""No pickles, and no code."""

Json = Annotated[bool, typer.Option("--json", help="One line of JSON.")]
Name = Annotated[str, typer.Argument(help="A model of models.yaml.")]


def list_models(as_json: Json = False) -> None:
    """The models of the catalogue: where they run, what a picture costs, and whether their files are here."""
    catalog = load_catalog(Settings().models)
    rows = [_summary(name, card) for name, card in sorted(catalog.models.items())]
    if as_json:
        print_json(rows)
        return
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for head in ("model", "pool", "size", "steps", "units a picture", "adapters", "here"):
        table.add_column(head)
    for row in rows:
        table.add_row(
            row["model"],
            row["pool"],
            row["size"],
            str(row["steps"]),
            f"{row['milliunits'] / 1000:g}",
            str(len(row["adapters"])),
            row["problem"] or "yes",
        )
    out.print(table)


def info(name: Name, as_json: Json = False) -> None:
    """One model: its card, the revision of its weights, its size on disk."""
    card = _card(load_catalog(Settings().models), name)
    found: dict[str, Any] = {**_summary(name, card), "card": card.model_dump(mode="json", exclude_defaults=True)}
    if not found["problem"] and card.engine != "null":
        folder = pipeline_folder(card)
        overlay = card.overlay.file if card.overlay else None
        found["pipeline_class"] = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))["_class_name"]
        found["weights_bytes"] = sum(path.stat().st_size for path in check_pipeline(folder))
        found["weights_revision"] = weights_revision(folder, overlay)
    if as_json:
        print_json(found)
        return
    for key, value in found.items():
        if value in ("", []):
            continue
        text = json.dumps(value, indent=2, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
        out.print(f"[bold]{key}[/]  ", end="")
        out.print(text, markup=False)


def check(
    file: Annotated[Path, typer.Argument(help="A catalogue, such as models.yaml.", exists=True, dir_okay=False)],
    as_json: Json = False,
) -> None:
    """Read a catalogue as the services would, and look for every file that it names. Exit code 1 for what is wrong."""
    catalog = load_catalog(file)
    problems = {name: found for name, card in sorted(catalog.models.items()) if (found := list(unusable_files(card)))}
    if as_json:
        print_json({"models": len(catalog.models), "problems": problems})
    else:
        for name, found in problems.items():
            for problem in found:
                err.print(f"{name}: {problem}", style="red", markup=False)
        if not problems:
            out.print(f"{len(catalog.models)} models, and all their files are here")
    if problems:
        raise typer.Exit(ExitCode.FAILED)


def warm(name: Name, as_json: Json = False) -> None:
    """Fetch a model of the hub if it is not here, load it as a worker would, and make one picture."""
    card = _card(load_catalog(Settings().models), name)
    for source in (card.pipeline, card.safety and card.safety.checker):
        if isinstance(source, HubPipeline):
            _fetch(source)
    found = asyncio.run(_warmed(name, card))
    if as_json:
        print_json(found)
    else:
        out.print(
            f"{name}: loaded in {found['load_s']:.1f} s, a picture in {found['picture_s']:.2f} s, "
            f"weights {found['weights_revision']}"
        )


async def _warmed(name: str, card: ModelCard) -> dict[str, Any]:
    engine = EngineProcess(
        {name: card},
        hang_s=Settings().generation.hang_s,
        on_stderr=lambda line: err.print(line, style="dim", markup=False),
    )
    given = card.defaults
    batch = Batch(name, Shape(given.width, given.height, given.steps, given.guidance), (Item("0", name, 0),))
    began = time.perf_counter()
    try:
        await engine.start(name)
        load_s = time.perf_counter() - began
        began = time.perf_counter()
        done = await engine.generate(batch, lambda _: None)
    except (EngineError, EngineLostError) as error:
        raise CommandError(f"{name}: {error}", code=ExitCode.SETUP) from None
    finally:
        await engine.stop()
    return {
        "model": name,
        "load_s": round(load_s, 2),
        "picture_s": round(time.perf_counter() - began, 3),
        "weights_revision": done.weights_revision,
    }


def _fetch(pipeline: HubPipeline) -> None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        snapshot_download(pipeline.hub, revision=pipeline.revision, allow_patterns=_HUB_FILES)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise CommandError(
            f"{pipeline.hub} at {pipeline.revision[:12]} can't be fetched ({type(error).__name__})",
            "look at the network, the name and the revision; a private one needs HF_TOKEN",
            code=ExitCode.UNAVAILABLE,
        ) from None


def _summary(name: str, card: ModelCard) -> dict[str, Any]:
    parameters = card.resolve(GenerationRequest(prompt=name, model=name), _ID)
    return {
        "model": name,
        "description": card.description,
        "pool": card.pool,
        "size": f"{parameters.width}x{parameters.height}",
        "steps": parameters.steps,
        "milliunits": card.cost_milliunits(parameters),
        "adapters": sorted(card.adapters),
        "problem": "; ".join(unusable_files(card)),
    }


def _card(catalog: Catalog, name: str) -> ModelCard:
    card = catalog.models.get(name)
    if card is None:
        raise CommandError(f"there is no model {name!r}", f"there is: {', '.join(sorted(catalog.models))}")
    return card
