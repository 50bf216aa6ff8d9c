"""Two hops with FastStream, as its documentation shows them: ``faststream_hops.py ROLE BOOTSTRAP [NUMBER]``.

Run by the interpreter of an environment that has FastStream. ``serve`` runs both hops; ``drive`` publishes that many
messages, waits for all of them at the other end, and prints a line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from faststream import FastStream
from faststream.kafka import KafkaBroker

_AT_ONCE = 500
_SETTLE_S = 2.0
_BODY = {"prompt": "x" * 380}


async def serve(bootstrap: str) -> None:
    """Take each message on by both hops."""
    broker = KafkaBroker(bootstrap)

    @broker.subscriber("rivals.requests", group_id="first", auto_offset_reset="earliest")
    @broker.publisher("rivals.jobs")
    async def first(body: dict[str, str]) -> dict[str, str]:
        return body

    @broker.subscriber("rivals.jobs", group_id="second", auto_offset_reset="earliest")
    @broker.publisher("rivals.results")
    async def second(body: dict[str, str]) -> dict[str, str]:
        return body

    await FastStream(broker).run()


async def drive(bootstrap: str, number: int) -> None:
    """Publish, and wait for as many at the other end."""
    broker, seen, done = KafkaBroker(bootstrap), 0, asyncio.Event()

    # From now on: there may have been a drive before this one.
    @broker.subscriber("rivals.results", auto_offset_reset="latest")
    async def last(_: dict[str, str]) -> None:
        nonlocal seen
        seen += 1
        if seen == number:
            done.set()

    await broker.start()
    await asyncio.sleep(_SETTLE_S)
    began = time.perf_counter()
    for first in range(0, number, _AT_ONCE):
        await asyncio.gather(*(broker.publish(_BODY, "rivals.requests") for _ in range(min(_AT_ONCE, number - first))))
    await asyncio.wait_for(done.wait(), 300)
    seconds = time.perf_counter() - began
    await broker.stop()
    # Last: the library writes to standard output too.
    print(json.dumps({"seconds": seconds}), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(serve(sys.argv[2]))
    else:
        asyncio.run(drive(sys.argv[2], int(sys.argv[3])))
