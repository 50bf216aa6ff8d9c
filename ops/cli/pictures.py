"""Takes pictures from the store, and makes sure that they are those that the event names."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from ops.cli.terminal import CommandError
from schemas.outputs import Output
from transport.objects import ObjectStore

__all__ = ["fetch", "file_stem", "read_verified"]

_MAX_STEM = 60


def file_stem(prompt: str, request_id: str) -> str:
    """A file name for people: the prompt's words, and the end of the id that tells two apart."""
    words = re.sub(r"[^\w]+", "-", prompt.lower()).strip("-")[:_MAX_STEM].rstrip("-")
    return f"{words or 'picture'}-{request_id[-6:]}"


async def fetch(store: ObjectStore, outputs: Sequence[Output], folder: Path, stem: str) -> list[Path]:
    """Save pictures as ``<stem>-<index>.<ext>`` in ``folder``, made if absent. Raises as ``read_verified``."""
    contents = await asyncio.gather(*(read_verified(store, output) for output in outputs))
    paths = [folder / f"{stem}-{output.index}{PurePosixPath(output.key).suffix}" for output in outputs]
    await asyncio.to_thread(_write, dict(zip(paths, contents, strict=True)))
    return paths


def _write(files: Mapping[Path, bytes]) -> None:
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


async def read_verified(store: ObjectStore, output: Output) -> bytes:
    """The bytes of a picture. Raises ``TransportError``, and ``CommandError`` when their hash is not the event's."""
    content = await store.get(output.key)
    digest = hashlib.sha256(content).hexdigest()
    if digest != output.sha256:
        raise CommandError(f"the object {output.key} is not the picture of the event: its sha256 is {digest}")
    return content
