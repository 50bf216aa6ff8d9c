"""What the commands that ask for something on a tenant's behalf have in common: options, key, client, request."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from ops.cli.installation import settings, settings_of_installation, signer_of
from ops.cli.terminal import CommandError, ExitCode
from producer_api import Client
from producer_api.sdk.config import flag
from schemas.catalog import load_catalog
from schemas.requests import GenerationRequest, invalid_request
from schemas.settings import Settings

__all__ = [
    "Asker",
    "GuidanceOption",
    "ImagesOption",
    "JsonOption",
    "KeyOption",
    "KidOption",
    "ModelOption",
    "NegativeOption",
    "SeedOption",
    "SizeOption",
    "StepsOption",
    "TenantOption",
    "asker",
    "request_of",
]

TenantOption = Annotated[str, typer.Option("--tenant", help="Who asks.", envvar="EASEL_TENANT", show_default=False)]
KeyOption = Annotated[Path | None, typer.Option("--key", help="File with the private key.", show_default=False)]
KidOption = Annotated[str | None, typer.Option("--kid", help="Its name; default: the file's.", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]

ModelOption = Annotated[
    str | None, typer.Option("--model", help="Default: the first of models.yaml.", show_default=False)
]
ImagesOption = Annotated[int, typer.Option("--images", help="Pictures a prompt.", min=1, max=10)]
NegativeOption = Annotated[str | None, typer.Option("--negative", help="What they must not show.", show_default=False)]
SizeOption = Annotated[str | None, typer.Option("--size", help="Such as 96x96.", show_default=False)]
StepsOption = Annotated[int | None, typer.Option("--steps", help="Denoising steps.", show_default=False)]
GuidanceOption = Annotated[
    float | None, typer.Option("--guidance", help="How closely to follow the prompt.", show_default=False)
]
SeedOption = Annotated[
    int | None, typer.Option("--seed", help="The same seed makes the same picture.", show_default=False)
]

_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")


@dataclass(frozen=True, slots=True)
class Asker:
    """A tenant's client, not connected yet, and the settings that it was made from."""

    client: Client
    settings: Settings


def asker(tenant: str, *, key: Path | None, kid: str | None) -> Asker:
    """Signs with ``key``, else ``EASEL_KEY_FILE``, else with the tenant's key that ``easel up`` made.

    Raises ``CommandError``.
    """
    # A key of one's own needs no tenants.yaml: that is the service's.
    found = settings() if key else settings_of_installation()
    if not tenant:
        raise CommandError("no tenant is named", "say --tenant, or set EASEL_TENANT", code=ExitCode.USAGE)
    signer = signer_of(tenant, found, key_file=key, kid=kid)
    client = Client(
        tenant=tenant,
        signer=signer,
        kafka=found.kafka,
        installation=found.installation,
        own_topic=flag(os.environ, "EASEL_OWN_TOPIC"),
    )
    return Asker(client, found)


def request_of(prompt: str, found: Settings, *, model: str | None, size: str | None, **given: Any) -> GenerationRequest:
    """The request that the options describe. Raises ``CommandError`` for one that can't be right."""
    width, height = _sides(size)
    try:
        return GenerationRequest(
            prompt=prompt,
            model=model or next(iter(load_catalog(found.models).models)),
            width=width,
            height=height,
            **given,
        )
    except ValidationError as error:
        raise CommandError(invalid_request(error).message, code=ExitCode.USAGE) from None


def _sides(size: str | None) -> tuple[int | None, int | None]:
    if size is None:
        return None, None
    match = _SIZE.fullmatch(size)
    if match is None:
        raise CommandError(f"--size {size!r} is not a size", "say width x height: 96x96", code=ExitCode.USAGE)
    return int(match[1]), int(match[2])
