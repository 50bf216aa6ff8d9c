"""What the stack asks of a part: how it is prepared and started, and whether it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from ops.local.cache import Report


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

    def cause(self, log: str, /) -> str | None:
        """Why it ended and what to do, in one line, where what it said at this start shows that."""
        ...
