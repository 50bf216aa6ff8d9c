"""``easel submit``: ask for pictures, wait for them, save them."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from ops.cli.following import Finished, submit_all
from ops.cli.installation import settings, settings_of_installation, signer_of
from ops.cli.terminal import CommandError, ExitCode, err, out, print_json
from ops.cli.usage import units
from producer_api import Client
from schemas.catalog import load_catalog
from schemas.outputs import ImageFormat
from schemas.requests import GenerationRequest, invalid_request

__all__ = ["submit"]

_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")


def submit(
    prompts: Annotated[list[str], typer.Argument(help="What the pictures show; each prompt is a request of its own.")],
    tenant: Annotated[str, typer.Option(help="Who asks.", envvar="EASEL_TENANT", show_default=False)] = "",
    model: Annotated[str | None, typer.Option(help="Default: the first of models.yaml.", show_default=False)] = None,
    images: Annotated[int, typer.Option(help="Pictures a prompt.", min=1, max=10)] = 1,
    negative: Annotated[str | None, typer.Option(help="What they must not show.", show_default=False)] = None,
    size: Annotated[str | None, typer.Option(help="Such as 96x96.", show_default=False)] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps.", show_default=False)] = None,
    guidance: Annotated[
        float | None, typer.Option(help="How closely to follow the prompt.", show_default=False)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed makes the same picture.", show_default=False)] = None,
    image_format: Annotated[ImageFormat, typer.Option("--format", help="File format.")] = "png",
    folder: Annotated[Path, typer.Option("--out", help="Where the pictures go.")] = Path("easel-out"),
    key: Annotated[Path | None, typer.Option(help="File with the private key.", show_default=False)] = None,
    kid: Annotated[str | None, typer.Option(help="Its name; default: that of the file.", show_default=False)] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for all of it.", min=1)] = 600.0,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON for each request.")] = False,
) -> None:
    """Submit prompts over Kafka, wait with a progress bar, and save the pictures.

    Signs with --key, else EASEL_KEY_FILE, else with the tenant's key that `easel up` made.
    """
    # A key of one's own needs no tenants.yaml: that is the service's.
    found = settings() if key else settings_of_installation()
    if not tenant:
        raise CommandError("no tenant is named", "say --tenant, or set EASEL_TENANT", code=ExitCode.USAGE)
    width, height = _sides(size)
    given = {
        "model": model or next(iter(load_catalog(found.models).models)),
        "images": images,
        "negative_prompt": negative,
        "width": width,
        "height": height,
        "steps": steps,
        "guidance": guidance,
        "seed": seed,
        "format": image_format,
    }
    requests = [_request(prompt, given) for prompt in prompts]
    signer = signer_of(tenant, found, key_file=key, kid=kid)
    client = Client(tenant=tenant, signer=signer, kafka=found.kafka, installation=found.installation)
    finished = asyncio.run(
        submit_all(client, requests, found.store, folder, timeout_s=timeout, console=None if as_json else err)
    )
    for one in finished:
        if as_json:
            print_json(_as_json(one))
        else:
            _print(one)
    if any(one.unavailable for one in finished):
        raise typer.Exit(ExitCode.UNAVAILABLE)
    if any(one.error for one in finished):
        raise typer.Exit(ExitCode.FAILED)


def _sides(size: str | None) -> tuple[int | None, int | None]:
    if size is None:
        return None, None
    match = _SIZE.fullmatch(size)
    if match is None:
        raise CommandError(f"--size {size!r} is not a size", "say width x height: 96x96", code=ExitCode.USAGE)
    return int(match[1]), int(match[2])


def _request(prompt: str, given: dict[str, Any]) -> GenerationRequest:
    try:
        return GenerationRequest(prompt=prompt, **given)
    except ValidationError as error:
        raise CommandError(invalid_request(error).message, code=ExitCode.USAGE) from None


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
