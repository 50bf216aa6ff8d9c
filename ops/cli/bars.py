"""What ``easel submit`` draws while it waits: a bar for each request, and a word when nobody decides them."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

__all__ = ["UNDECIDED", "Bars"]

UNDECIDED = (
    "is `easel all` running (`easel status`)? If it is, the signature may have been refused: see the dead letters "
    "(`easel watch --dead-letters`)"
)
_NOTE = f"nobody has decided this yet: {UNDECIDED}"


class Bars(Progress):
    """Bars on a terminal; elsewhere lines; without a console nothing."""

    def __init__(self, console: Console | None) -> None:
        self._told = console
        self._undecided: set[TaskID] = set()
        self._noted = False
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            console=console,
            disable=console is None or not console.is_terminal,
        )

    def get_renderables(self) -> Iterable[RenderableType]:
        """The bars, and under them the note while it holds."""
        yield from super().get_renderables()
        if self._undecided:
            yield Text(_NOTE, style="yellow")

    def say(self, line: str) -> None:
        """A line of its own, above the bars."""
        if self._told is not None:
            # A style of the call would dim the bars too, which are drawn again with it.
            self._told.print(Text(line, style="dim"), soft_wrap=True)

    def undecided(self, bar: TaskID) -> None:
        """This request waits for its decision longer than is usual."""
        self._undecided.add(bar)
        if self.disable and self._told is not None and not self._noted:
            self._told.print(_NOTE, style="yellow", markup=False, soft_wrap=True)
        self._noted = True

    def decided(self, bar: TaskID) -> None:
        """This request has been decided after all."""
        self._undecided.discard(bar)
