"""``easel top``: the installation at a glance, live."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.live import Live

from ops.cli.installation import settings
from ops.cli.terminal import CommandError, ExitCode, out, print_json
from ops.top.board import Board, Instance, Snapshot
from ops.top.follow import Following
from ops.top.view import Screen
from schemas.settings import Settings

__all__ = ["top"]

_DRAW_S = 0.5
_FIRST_LOOK_S = 30.0


def top(
    once: Annotated[bool, typer.Option("--once", help="Look once, print, and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON; every second without --once.")] = False,
) -> None:
    """Show tenants, queues, the fleet and rates, live. Ctrl-C ends it.

    It reads the fleet, results, usage and dead-letter topics, and nothing else. Rates and refusals are those
    of the last minute, dead letters those of the last hour.
    """
    found = settings()
    if not once and not as_json and not out.is_terminal:
        raise CommandError("this is not a terminal", "say --once or --json", code=ExitCode.USAGE)
    asyncio.run(_look(found, once=once, as_json=as_json))


async def _look(found: Settings, *, once: bool, as_json: bool) -> None:
    board = Board()
    with _warnings() as warnings:
        following = Following(found.kafka, board)
        task = asyncio.create_task(following.run())
        try:
            if once:
                await _first(following, task)
                _print(board.snapshot(following.now_ms()), found, as_json=as_json)
            elif as_json:
                await _first(following, task)
                while not task.done():
                    _print(board.snapshot(following.now_ms()), found, as_json=True)
                    await asyncio.sleep(1.0)
            else:
                await _live(board, following, task, warnings, found)
            if task.done():
                task.result()
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _first(following: Following, task: asyncio.Task[None]) -> None:
    first = asyncio.create_task(following.until_caught_up(_FIRST_LOOK_S))
    await asyncio.wait([first, task], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    try:
        await first
    except TimeoutError:
        what = following.problem or f"the topics could not be read within {_FIRST_LOOK_S:.0f} s"
        raise CommandError(what, "is the broker up?", code=ExitCode.UNAVAILABLE) from None


async def _live(
    board: Board, following: Following, task: asyncio.Task[None], warnings: _Warnings, found: Settings
) -> None:
    with Live(console=out, screen=True, auto_refresh=False, redirect_stderr=False) as live:
        while not task.done():
            problem = following.problem or warnings.latest(following.heard_at)
            snapshot = board.snapshot(following.now_ms())
            live.update(Screen(snapshot, installation=found.installation, problem=problem), refresh=True)
            await asyncio.wait([task], timeout=_DRAW_S)


def _print(snapshot: Snapshot, found: Settings, *, as_json: bool) -> None:
    if as_json:
        print_json(_as_json(snapshot))
    else:
        out.print(Screen(snapshot, installation=found.installation), soft_wrap=False)


def _as_json(snapshot: Snapshot) -> dict[str, Any]:
    def instance(one: Instance) -> dict[str, Any]:
        return {"state": one.state, "age_ms": one.age_ms, **one.beat.model_dump(mode="json")}

    return {
        "at_ms": snapshot.at_ms,
        "totals": asdict(snapshot.totals),
        "tenants": [asdict(row) for row in snapshot.tenants],
        "workers": [instance(one) for one in snapshot.workers],
        "admission": [instance(one) for one in snapshot.admission],
        "dead_letters": snapshot.dead_letters,
    }


class _Warnings(logging.Handler):
    """Keeps what the transport warns of: it goes on by itself, and lines of a log would tear the screen."""

    def __init__(self) -> None:
        super().__init__()
        self._last: tuple[float, str] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        self._last = time.monotonic(), record.getMessage()

    def latest(self, heard_at: float) -> str | None:
        """The last warning, unless something was read after it."""
        return self._last[1] if self._last is not None and self._last[0] > heard_at else None


@contextlib.contextmanager
def _warnings() -> Iterator[_Warnings]:
    log, keeper = logging.getLogger("transport"), _Warnings()
    before, log.handlers = log.handlers, [keeper]
    try:
        yield keeper
    finally:
        log.handlers = before
