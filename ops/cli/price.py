"""``easel price``: what a request would cost, and whether and when it would be accepted."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from ops.cli.asking import (
    GuidanceOption,
    ImagesOption,
    JsonOption,
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
from ops.cli.terminal import ExitCode, out, print_json
from ops.cli.usage import units
from producer_api import Client
from schemas.events import Priced
from schemas.requests import GenerationRequest

__all__ = ["price", "price_line"]


def price(
    prompt: Annotated[str, typer.Argument(help="What the picture shows.")],
    tenant: TenantOption = "",
    model: ModelOption = None,
    images: ImagesOption = 1,
    negative: NegativeOption = None,
    size: SizeOption = None,
    steps: StepsOption = None,
    guidance: GuidanceOption = None,
    seed: SeedOption = None,
    key: KeyOption = None,
    kid: KidOption = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the answer.", min=1)] = 30.0,
    as_json: JsonOption = False,
) -> None:
    """Ask what a request would cost, and whether it would be accepted now. Nothing is held, and nothing is made.

    Exit code 1 if it would not be accepted.
    """
    who = asker(tenant, key=key, kid=kid)
    request = request_of(
        prompt,
        who.settings,
        model=model,
        size=size,
        images=images,
        negative_prompt=negative,
        steps=steps,
        guidance=guidance,
        seed=seed,
    )
    priced = asyncio.run(_ask(who.client, request, timeout))
    if as_json:
        print_json(priced.model_dump(mode="json"))
    else:
        out.print(price_line(priced), markup=False)
    if not priced.acceptable:
        raise typer.Exit(ExitCode.FAILED)


def price_line(priced: Priced) -> str:
    """A price as people read it, in one line."""
    cost = f"{units(priced.cost_milliunits)} units of {priced.model}{', from the cache' if priced.cached else ''}"
    if priced.error is None:
        return f"{cost}; it would be accepted, {priced.position} before it"
    wait = f"; again in {priced.retry_after_s:.1f} s" if priced.retry_after_s is not None else ""
    return f"{cost}; it would be refused: {priced.error.code}: {priced.error.message}{wait}"


async def _ask(client: Client, request: GenerationRequest, timeout_s: float) -> Priced:
    async with client:
        return await client.price_request(request, timeout_s=timeout_s)
