"""What pictures are made from: a file that is put into the store, or the key of a picture that lies there."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

from ops.cli.terminal import CommandError, ExitCode
from schemas.connection import StoreSettings
from schemas.outputs import MEDIA_TYPES, tenant_prefix
from schemas.sources import EXTENSIONS, MAX_SOURCE_BYTES, format_of, source_key, source_prefix
from transport.objects import ObjectStore

__all__ = ["key_of"]


def key_of(named: str | None, tenant: str, store: StoreSettings) -> str | None:
    """The key of a source: of a file once it is in the store, else what was named, if that is a key of the tenant's.

    Raises ``CommandError`` for what is neither, and ``TransportError``.
    """
    if named is None:
        return None
    path = Path(named)
    if not path.is_file():
        if named.startswith((source_prefix(tenant), tenant_prefix(tenant))):
            return named
        raise CommandError(f"there is no file {named!r}", "name a png, jpeg or webp", code=ExitCode.USAGE)
    data = path.read_bytes()
    found = format_of(data)
    if found is None or len(data) > MAX_SOURCE_BYTES:
        raise CommandError(
            f"{named} can't be a source",
            f"give a png, jpeg or webp of at most {MAX_SOURCE_BYTES // 2**20} MiB",
            code=ExitCode.USAGE,
        )
    key = source_key(tenant, hashlib.sha256(data).hexdigest(), EXTENSIONS[found])
    asyncio.run(_put(store, key, data, MEDIA_TYPES[found]))
    return key


async def _put(store: StoreSettings, key: str, data: bytes, media_type: str) -> None:
    async with ObjectStore(store) as objects:
        # Its key is its content's: what is there is the same.
        if not await objects.exists(key):
            await objects.put(key, data, content_type=media_type)
