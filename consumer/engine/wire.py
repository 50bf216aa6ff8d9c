"""What the worker and its engine process say to each other: pickled messages behind their length, over a socket pair.

Both ends are the same program on the same machine, and nobody else holds the socket: that is why pickle is safe here.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from consumer.engine.contract import Batch, Made, Missed, Pixels, Row, TextUse
from consumer.engine.memory import Footprint
from schemas.catalog import ModelCard
from schemas.errors import Code

__all__ = [
    "MOST_BYTES",
    "Cancel",
    "Canceled",
    "Done",
    "Ended",
    "FromChild",
    "Generate",
    "Held",
    "Hello",
    "Join",
    "Left",
    "Load",
    "Loaded",
    "Preview",
    "Problem",
    "Resident",
    "RowEvent",
    "RowsFailed",
    "Step",
    "Stepped",
    "ToChild",
    "pack",
    "read",
    "receive",
]

_LENGTH = struct.Struct(">Q")

MOST_BYTES = 4 * 2**30
"""The longest message: pictures of a batch, 256 of 2048 x 2048 pixels and more."""


@dataclass(frozen=True, slots=True)
class Load:
    """Have this model ready. The answer is ``Loaded`` or ``Problem``.

    Others stay loaded as long as the weights of all take no more than ``models_bytes``.
    """

    engine: str
    model: str
    card: ModelCard
    models_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Generate:
    """Make this batch with its model, which is loaded. The answer is ``Step``s, then ``Done`` or ``Problem``."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class Join:
    """Make these rows with their model, which is loaded, beside those that run; only while no batch does.

    The answer is ``Stepped`` with nothing, when they are the first, and a ``RowEvent`` whenever there is one. Each row
    ends in ``Ended``, ``Left`` or ``RowsFailed``.
    """

    model: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Cancel:
    """These items of what is running are not wanted any more."""

    ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class Hello:
    """The process is up."""

    pid: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """The model is ready. ``Held`` has told of it."""


@dataclass(frozen=True, slots=True)
class Resident:
    """A model that is loaded."""

    weights_revision: str
    footprint: Footprint


@dataclass(frozen=True, slots=True)
class Held:
    """The models that are loaded now, said when they have changed, before the answer."""

    models: Mapping[str, Resident]


@dataclass(frozen=True, slots=True)
class Step:
    """So many steps are done; none means that the batch has been taken. ``left``: items that were canceled before the
    next one, and are not in the batch any more."""

    step: int
    left: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Preview:
    """How an item that runs looks after so many steps."""

    id: str
    step: int
    pixels: Pixels


@dataclass(frozen=True, slots=True)
class Canceled:
    """An item that left before it was done: a ``Step`` has said when."""

    id: str


@dataclass(frozen=True, slots=True)
class Done:
    """One result an item, in the order of the items; ``seconds`` in the engine; the weights that made them; how their
    prompts were encoded."""

    results: tuple[Made | Missed | Canceled, ...]
    seconds: float
    weights_revision: str
    texts: TextUse


@dataclass(frozen=True, slots=True)
class Stepped:
    """Rows that have made a step, with how many each has made."""

    steps: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Left:
    """A row that was canceled is gone, after so many steps."""

    id: str
    steps: int


@dataclass(frozen=True, slots=True)
class Ended:
    """A row is done; ``seconds`` from when it joined; the weights that made it; the texts since the last one ended."""

    result: Made | Missed
    seconds: float
    weights_revision: str
    texts: TextUse


@dataclass(frozen=True, slots=True)
class RowsFailed:
    """All that ran, and had not ended, failed together; ``message`` may be shown to a tenant."""

    ids: frozenset[str]
    code: Code
    message: str


@dataclass(frozen=True, slots=True)
class Problem:
    """The call failed; ``message`` may be shown to a tenant."""

    code: Code
    message: str


ToChild = Load | Generate | Join | Cancel
RowEvent = Stepped | Left | Ended | RowsFailed
FromChild = Hello | Held | Loaded | Step | Preview | Done | RowEvent | Problem


def pack(message: ToChild | FromChild) -> bytes:
    """The bytes of a message."""
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(body)) + body


async def read(reader: asyncio.StreamReader) -> FromChild:
    """The next message. Raises ``asyncio.IncompleteReadError`` when the other end is gone, and ``ValueError`` for one
    that is longer than any can be."""
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if length > MOST_BYTES:
        raise ValueError(f"a message of {length:,} bytes; the longest has {MOST_BYTES:,}")
    message: FromChild = pickle.loads(await reader.readexactly(length))  # noqa: S301
    return message


def receive(connection: socket.socket) -> ToChild:
    """The next message, waiting for it. Raises ``EOFError`` when the other end is gone."""
    (length,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size))
    message: ToChild = pickle.loads(_exactly(connection, length))  # noqa: S301
    return message


def _exactly(connection: socket.socket, count: int) -> bytes:
    found = bytearray()
    while len(found) < count:
        part = connection.recv(min(count - len(found), 2**20))
        if not part:
            raise EOFError
        found += part
    return bytes(found)
