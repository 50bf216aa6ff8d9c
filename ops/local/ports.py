"""Loopback ports for servers that are started side by side, by processes that know nothing of each other."""

from __future__ import annotations

import secrets
import socket
from itertools import chain
from pathlib import Path

from ops.local.cache import cache_dir, locked

__all__ = ["free_port", "kept_port"]

# Below the ephemeral ports of Linux (32768) and macOS (49152): a client that reconnects to a closed ephemeral port of
# its own host may be given that very port and meet itself, and the broker then cannot come back.
_PORTS = range(20_000, 32_000)


def free_port() -> int:
    """A loopback port that nobody listens on now.

    All processes of a user are dealt ports in turn. So one that was given out and is not listened on yet, or not at
    this moment because its server restarts, goes to nobody else before all the others have.
    """
    counter = cache_dir() / "next-port"
    with locked(counter):
        text = counter.read_text()
        first = int(text) if text.isdigit() and int(text) in _PORTS else secrets.choice(_PORTS)
        for port in chain(range(first, _PORTS.stop), range(_PORTS.start, first)):
            if _is_free(port):
                counter.write_text(str(port + 1))
                return port
    raise OSError(f"no free port on 127.0.0.1 between {_PORTS.start} and {_PORTS.stop}")


def kept_port(directory: Path, name: str) -> int:
    """The port `name` of this data directory: chosen once, then always the same, so that clients find it again."""
    path = directory / f"{name}.port"
    if path.exists():
        return int(path.read_text())
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    path.write_text(f"{port}\n")
    return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
