"""The rows that an engine's process has, as the worker's side keeps them: who joined and has not ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from consumer.engine.connection import ChildConnection
from consumer.engine.contract import Row
from consumer.engine.wire import Ended, FromChild, Join, Left, RowEvent, RowsFailed

__all__ = ["RunningRows"]


class RunningRows:
    """One run, from its first rows to when none is left. ``on_event`` hears all that is said of them."""

    def __init__(self, model: str, rows: Sequence[Row], on_event: Callable[[RowEvent], None]) -> None:
        self._model = model
        self._rows = {row.item.id: row for row in rows}
        self._on_event = on_event
        self.child: ChildConnection | None = None
        self.open = True
        """Whether others may join."""

    def begin(self, child: ChildConnection) -> None:
        """Give them all to a child."""
        self.child = child
        child.send(Join(self._model, tuple(self._rows.values())))

    def join(self, rows: Sequence[Row]) -> bool:
        """Add these; False when none is left that they could join, or none is to join any more."""
        if not self._rows or not self.open:
            return False
        self._rows |= {row.item.id: row for row in rows}
        if self.child is not None:
            # Without one yet, they begin with the others.
            self.child.send(Join(self._model, tuple(rows)))
        return True

    def hear(self, answer: FromChild) -> bool:
        """Take note of an answer; whether it ended the run."""
        if isinstance(answer, RowsFailed):
            for item in answer.ids:
                self._rows.pop(item, None)
        elif isinstance(answer, Left):
            self._rows.pop(answer.id, None)
        elif isinstance(answer, Ended):
            self._rows.pop(answer.result.id, None)
        if isinstance(answer, RowEvent):
            self._on_event(answer)
        return not self._rows
