"""``easel store``: make the bucket, and have the store delete by itself what is no longer needed."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from ops.cli.installation import settings_of_installation
from ops.cli.terminal import out
from schemas.connection import StoreSettings
from schemas.sources import SOURCES
from transport.objects import ObjectStore

__all__ = ["store"]

_LOGINS, _LOGINS_DAYS = "logins/", 30
"""As long as a refresh token is good."""


def store(
    sources_days: Annotated[
        int, typer.Option(help="Pictures that tenants gave are deleted after so many days.", min=2)
    ] = 30,
) -> None:
    """Make the bucket if it is missing, and set when sources, and what is known of sign-ins, expire.

    Made pictures stay. Safe to repeat; other rules of the bucket stay as they are. It needs a key that may make and
    configure buckets, which no service does.
    """
    for line in asyncio.run(_provide(settings_of_installation().store, sources_days)):
        out.print(line, markup=False)


async def _provide(settings: StoreSettings, sources_days: int) -> list[str]:
    async with ObjectStore(settings) as objects:
        made = await objects.ensure_bucket()
        expiries = {SOURCES: sources_days, _LOGINS: _LOGINS_DAYS}
        for prefix, days in expiries.items():
            await objects.expire(prefix, days)
    told = [f"{prefix} expires {days} days after it was written" for prefix, days in expiries.items()]
    return [f"made the bucket {settings.bucket}"] * made + told
