"""A worker whose store keeps nothing: ``python -m ops.bench.pipeline.unstored``.

A store on the same two cores takes more of them than all else together. Beside a loop that stores nothing, the worker
is measured without one: it encodes each picture, hashes it and writes its manifest, and both go nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping

from consumer.generation import __main__ as worker
from consumer.generation import service
from transport.errors import NotFound
from transport.objects import ObjectStore

__all__ = ["Nowhere", "main"]


class Nowhere(ObjectStore):
    """Takes everything and has nothing."""

    async def ensure_bucket(self) -> bool:
        """It is there, so to speak."""
        return False

    async def put(self, key: str, data: bytes, *, content_type: str, metadata: Mapping[str, str] | None = None) -> None:
        """Forget it."""

    async def get(self, key: str) -> bytes:
        """Raises ``NotFound``."""
        raise NotFound(f"reading {key}: nothing is kept here")


def main() -> None:
    """Run a worker as a process."""
    vars(service)["ObjectStore"] = Nowhere
    worker.main()


if __name__ == "__main__":
    main()
