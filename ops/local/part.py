"""What the stack asks of a part: how it is prepared and started, and whether it answers."""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from ops.local.cache import Report

# Below the ephemeral ports of Linux (32768) and macOS (49152): a client that reconnects to a closed ephemeral port of
# its own host may be given that very port and meet itself, and the broker then cannot come back.
_PORTS = range(20_000, 32_000)


class Part(Protocol):
    """One server of the local stack. All paths are absolute, all addresses on the loopback interface."""

    name: str
    start_limit_s: float
    """How long a start may take until `answers`, on a machine that does other things too."""

    @property
    def address(self) -> str:
        """Where clients reach it, `host:port`."""
        ...

    def prepare(self, report: Report) -> None:
        """Make ready what the first start needs, and nothing again later. May take minutes; says so by `report`."""
        ...

    def command(self) -> Sequence[str]:
        """The command line. It holds no secret: everybody on the machine can read it."""
        ...

    def environment(self) -> Mapping[str, str]:
        """The whole environment of the process."""
        ...

    def answers(self) -> bool:
        """Whether it serves clients now. Returns within a second."""
        ...


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    for port in random.sample(_PORTS, 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
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
