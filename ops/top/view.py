"""A snapshot as a screen: as many rows as fit, the busiest first, and what was left out is said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from ops.top.board import Instance, Snapshot, TenantRow

__all__ = ["Screen"]

_Row = TypeVar("_Row")

_HEAD_LINES = 3
_TABLE_LINES = 2
"""A table's heading and the empty line after it."""
_STYLES = {"ready": "green", "draining": "yellow", "unready": "red", "silent": "red"}


class Screen:
    """Draws a snapshot into whatever room it is given."""

    def __init__(self, snapshot: Snapshot, *, installation: str, problem: str | None = None) -> None:
        self._snapshot = snapshot
        self._installation = installation
        self._problem = problem

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        snapshot = self._snapshot
        # Not in a terminal there is no bottom, and everything is shown.
        room = (options.height or console.height) - _HEAD_LINES - 1 if console.is_terminal else 1_000_000
        fleet = len(snapshot.workers) + len(snapshot.admission) + 2 * _TABLE_LINES
        tenants = max(3, room - _TABLE_LINES - min(fleet, room // 2))
        rest = room - _TABLE_LINES - min(tenants, len(snapshot.tenants))
        admission = min(len(snapshot.admission), max(1, rest // 3))
        workers = max(1, rest - admission - 2 * _TABLE_LINES)
        yield Group(
            *self._head(),
            Text(),
            _fitting(snapshot.tenants, tenants, _tenants),
            Text(),
            _fitting(snapshot.workers, workers, _workers),
            Text(),
            _fitting(snapshot.admission, admission, _admission),
        )

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(40, options.max_width)

    def _head(self) -> Sequence[RenderableType]:
        """Two lines: now, and the last minute or what stands in the way."""
        totals, snapshot = self._snapshot.totals, self._snapshot
        clock = datetime.fromtimestamp(snapshot.at_ms / 1000, tz=UTC).astimezone()
        letters = ", ".join(f"{count} {code}" for code, count in snapshot.dead_letters.items())
        count = totals.dead_letters_an_hour
        now = Text.assemble(
            (f"{self._installation}  ", "bold"),
            f"{clock:%H:%M:%S}  {totals.queued:,} queued, {totals.running:,} running  ",
            (f"{count} dead letters in an hour" + (f" ({letters})" if count else ""), "yellow" if count else ""),
            overflow="ellipsis",
            no_wrap=True,
        )
        minute = Text.assemble(
            f"last minute: {totals.accepted_a_minute:,} accepted, {totals.ended_a_minute:,} ended, ",
            (f"{totals.refused_a_minute:,} refused", "yellow" if totals.refused_a_minute else ""),
            f", {totals.milliunits_a_minute / 1000:,.1f} units settled",
            overflow="ellipsis",
            no_wrap=True,
        )
        if self._problem:
            minute = Text(f"! {self._problem}", style="bold red", overflow="ellipsis", no_wrap=True)
        return now, minute


def _fitting(rows: Sequence[_Row], most: int, table: Callable[[Sequence[_Row]], Table]) -> RenderableType:
    if len(rows) <= most:
        return table(rows)
    shown = rows[: max(1, most - 1)]
    return Group(table(shown), Text(f"… and {len(rows) - len(shown)} more", style="dim"))


def _tenants(rows: Sequence[TenantRow]) -> Table:
    table = _table("tenant", "queued", "running", "acc/min", "end/min", "units/min", "today", "limit")
    table.add_column("refused/min", no_wrap=True, overflow="ellipsis")
    for row in rows:
        refused = ", ".join(f"{count} {code}" for code, count in sorted(row.refused.items(), key=lambda each: -each[1]))
        near = row.day_limit_milliunits and (row.day_milliunits or 0) >= 0.9 * row.day_limit_milliunits
        table.add_row(
            row.tenant,
            _number(row.queued),
            _number(row.running),
            _number(row.accepted_a_minute),
            _number(row.ended_a_minute),
            _units(row.milliunits_a_minute),
            Text(_units(row.day_milliunits), style="yellow" if near else ""),
            _units(row.day_limit_milliunits),
            Text(refused, style="yellow"),
        )
    if not rows:
        table.add_row(Text("nobody has asked lately", style="dim"))
    return table


def _workers(rows: Sequence[Instance]) -> Table:
    table = _table("worker", "running", "waiting", "backlog", "units/s", "parts", left=("pool", "state"))
    table.add_column("models", no_wrap=True, overflow="ellipsis")
    for one in rows:
        beat = one.beat
        states = [state for *_, state in beat.held]
        table.add_row(
            beat.instance,
            beat.pool or "–",
            _state(one),
            _number(states.count("running")),
            _number(states.count("waiting")),
            _units(beat.backlog_milliunits),
            _units(beat.rate_milliunits_s),
            _number(len(beat.partitions)),
            ", ".join(beat.models) or "–",
        )
    if not rows:
        table.add_row(Text("no worker is heard", style="yellow"))
    return table


def _admission(rows: Sequence[Instance]) -> Table:
    table = _table("admission", "tenants.yaml", left=("state",))
    table.add_column("partitions", no_wrap=True, overflow="ellipsis")
    for one in rows:
        version = one.beat.tenants_version
        table.add_row(
            one.beat.instance, _state(one), "–" if version is None else f"v{version}", _ranges(one.beat.partitions)
        )
    if not rows:
        table.add_row(Text("no admission is heard", style="yellow"))
    return table


def _table(first: str, *numbers: str, left: Sequence[str] = ()) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold", pad_edge=False)
    table.add_column(first, no_wrap=True, overflow="ellipsis", ratio=None, min_width=8)
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _state(one: Instance) -> Text:
    return Text(one.state, style=_STYLES[one.state])


def _number(count: int) -> str:
    return f"{count:,}" if count else "–"


def _units(milliunits: int | None) -> str:
    if not milliunits:
        return "–"
    units = milliunits / 1000
    return f"{units:,.0f}" if units >= 100 else f"{units:,.1f}"


def _ranges(numbers: Sequence[int]) -> str:
    """``0-3, 7``."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in found) or "–"
