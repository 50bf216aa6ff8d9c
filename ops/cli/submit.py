"""``easel submit``: ask for pictures, wait for them, save them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from ops.cli.asking import (
    GuidanceOption,
    ImagesOption,
    KeyOption,
    KidOption,
    ModelOption,
    NegativeOption,
    SeedOption,
    SizeOption,
    StepsOption,
    TenantOption,
    asker,
    request_of,
)
from ops.cli.following import Finished, Submission
from ops.cli.sources import key_of
from ops.cli.terminal import CommandError, ExitCode, err, out, print_json
from ops.cli.usage import units
from schemas.outputs import ImageFormat

__all__ = ["submit"]


def submit(
    prompts: Annotated[list[str], typer.Argument(help="What the pictures show; each prompt is a request of its own.")],
    tenant: TenantOption = "",
    model: ModelOption = None,
    images: ImagesOption = 1,
    negative: NegativeOption = None,
    size: SizeOption = None,
    steps: StepsOption = None,
    guidance: GuidanceOption = None,
    seed: SeedOption = None,
    source: Annotated[
        str | None,
        typer.Option(help="A picture to make them from: a file, or a key in the store.", show_default=False),
    ] = None,
    strength: Annotated[
        float | None, typer.Option(help="How far from the source they may be, above 0 to 1.", show_default=False)
    ] = None,
    mask: Annotated[
        str | None,
        typer.Option(help="Of the source's size: white where it is to be made anew.", show_default=False),
    ] = None,
    image_format: Annotated[ImageFormat, typer.Option("--format", help="File format.")] = "png",
    idempotency_key: Annotated[
        str | None,
        typer.Option(help="A name of your own for the request: under it, it is made once.", show_default=False),
    ] = None,
    folder: Annotated[Path, typer.Option("--out", help="Where the pictures go.")] = Path("easel-out"),
    key: KeyOption = None,
    kid: KidOption = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for all of it.", min=1)] = 600.0,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON for each request.")] = False,
) -> None:
    """Submit prompts over Kafka, wait with a progress bar, and save the pictures.

    Signs with --key, else EASEL_KEY_FILE, else with the tenant's key that `easel up` made. Ctrl-C ends the waiting, not
    the request.
    """
    if idempotency_key is not None and len(prompts) > 1:
        raise CommandError("an idempotency key names one request", "give one prompt", code=ExitCode.USAGE)
    who = asker(tenant, key=key, kid=kid)
    given: dict[str, Any] = {
        "model": model,
        "size": size,
        "images": images,
        "negative_prompt": negative,
        "steps": steps,
        "guidance": guidance,
        "seed": seed,
        "source_image": key_of(source, tenant, who.settings.store),
        "strength": strength,
        "mask_image": key_of(mask, tenant, who.settings.store),
        "format": image_format,
    }
    requests = [request_of(prompt, who.settings, **given) for prompt in prompts]
    submission = Submission(who.client, who.settings.store, folder, idempotency_key=idempotency_key)
    try:
        finished = asyncio.run(submission.run(requests, timeout_s=timeout, console=None if as_json else err))
    except KeyboardInterrupt:
        _say_how_to_go_on([handle.request_id for handle in submission.open], tenant)
        raise
    for one in finished:
        if as_json:
            print_json(_as_json(one))
        else:
            _print(one)
    if any(one.unavailable for one in finished):
        raise typer.Exit(ExitCode.UNAVAILABLE)
    if any(one.error for one in finished):
        raise typer.Exit(ExitCode.FAILED)


def _say_how_to_go_on(ids: list[str], tenant: str) -> None:
    if not ids:
        err.print("interrupted; no request of this command is known to be open", style="yellow")
        return
    what, it = ("the request goes", "it") if len(ids) == 1 else (f"{len(ids)} requests go", "them")
    err.print(f"interrupted; {what} on. To follow or to stop {it}:", style="yellow")
    err.print(f"  easel watch --tenant {tenant} --since 10m", markup=False)
    err.print(f"  easel cancel --tenant {tenant} {' '.join(ids)}", markup=False)


def _as_json(one: Finished) -> dict[str, Any]:
    return {
        "prompt": one.prompt,
        "request_id": one.request_id,
        "succeeded": one.event.model_dump(mode="json") if one.event else None,
        "files": [str(path) for path in one.files],
        "error": one.error.model_dump(mode="json") if one.error else None,
        "retry_after_s": one.retry_after_s,
    }


def _print(one: Finished) -> None:
    if one.error:
        wait = f"; again in {one.retry_after_s:.1f} s" if one.retry_after_s is not None else ""
        err.print(f"{one.prompt}: {one.error.code}: {one.error.message}{wait}", style="red", markup=False)
        return
    for path in one.files:
        out.print(str(path), markup=False)
    if one.event:
        cached = ", from the cache" if one.event.cached else ""
        err.print(
            f"{one.prompt}: {units(one.event.cost_milliunits)} units, waited {one.event.waited_ms / 1000:.1f} s, "
            f"made in {one.event.engine_ms / 1000:.1f} s{cached}",
            style="dim",
            markup=False,
            soft_wrap=True,
        )
