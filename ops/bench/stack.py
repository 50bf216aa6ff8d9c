"""A broker and a store for one bench: new, in a folder that goes with it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ops.local.stack import Stack

__all__ = ["fresh_stack"]


@contextmanager
def fresh_stack(kafka_properties: Mapping[str, str] | None = None) -> Iterator[tuple[Stack, Path]]:
    """A stack of which nothing runs yet, and a folder for what else there is; both are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="easel-bench-") as name:
        stack = Stack(Path(name) / "stack", kafka_properties=kafka_properties)
        try:
            yield stack, Path(name)
        finally:
            stack.down()
