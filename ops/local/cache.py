"""What is downloaded or built once per user and shared by every clone. Standard library only: `make setup` uses it."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ops.local.errors import LocalStackError

Report = Callable[[str], None]
"""Takes one line about what goes on, for a person."""


# Whoever holds a lock may be building MinIO, which has a limit of its own below this one.
_LOCK_LIMIT_S = 2400.0
_LOCK_POLL_S = 0.05


def silent(_line: str) -> None:
    """A `Report` that says nothing."""


def cache_dir() -> Path:
    """`$XDG_CACHE_HOME/easel`, or `~/.cache/easel`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "easel"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path` (made if absent), waiting for whoever holds it; it ends with this process.

    Raises:
        LocalStackError: another process has held it for 40 minutes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + _LOCK_LIMIT_S
    with path.open("a") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise LocalStackError(f"another easel process holds {path}: end it and try again") from None
                time.sleep(_LOCK_POLL_S)
        yield


def provide(name: str, fill: Callable[[Path], None]) -> Path:
    """Return the cached directory `name`, first filled by `fill(staging)` where there is none.

    The directory appears whole or not at all, also when two processes ask at once or one is killed midway.
    """
    target = cache_dir() / name
    if target.is_dir():
        return target
    with locked(cache_dir() / f"{name}.lock"):
        if target.is_dir():
            return target
        staging = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=cache_dir()))
        try:
            fill(staging)
            staging.rename(target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return target
