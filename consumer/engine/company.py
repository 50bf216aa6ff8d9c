"""The company of rows that run in the engine's process: those that come over the socket, and what is said of them."""

from __future__ import annotations

import queue
from collections.abc import Callable, Mapping, Sequence

from consumer.engine.bounds import require_bounded
from consumer.engine.contract import Engine, EngineError, Made, Missed, Row, TextUse
from consumer.engine.wire import Ended, Generate, Join, Left, Load, RowEvent, RowsFailed, Stepped
from schemas.errors import Code

__all__ = ["ChildCompany"]


class ChildCompany:
    """The ``Company`` of one run. ``canceled`` is filled by the thread that listens."""

    def __init__(
        self,
        rows: Sequence[Row],
        work: queue.SimpleQueue[Load | Generate | Join],
        canceled: set[str],
        engine: Engine,
        send: Callable[[RowEvent], None],
    ) -> None:
        self._running = {row.item.id: row for row in rows}
        self._work = work
        self._canceled = canceled
        self._send = send
        self._engine = engine
        self._texts = engine.texts

    @property
    def running(self) -> list[Row]:
        """Those that have not ended."""
        return list(self._running.values())

    def pixels(self) -> int:
        """Of all that have not ended."""
        return sum(row.shape.width * row.shape.height for row in self._running.values())

    def joined(self) -> Sequence[Row]:
        """See the contract. Whoever is at the other end sends nothing else while rows run."""
        rows: list[Row] = []
        while True:
            try:
                message = self._work.get_nowait()
            except queue.Empty:
                break
            assert isinstance(message, Join)  # noqa: S101
            rows += message.rows
        self._running |= {row.item.id: row for row in rows}
        return rows

    def is_canceled(self, item: str) -> bool:
        """See the contract."""
        return item in self._canceled

    def left(self, item: str, steps: int) -> None:
        """See the contract."""
        self._forget(item)
        self._send(Left(item, steps))

    def stepped(self, steps: Mapping[str, int]) -> None:
        """See the contract. Of a run that has ended nothing more is said: it would answer whatever is asked next."""
        if self._running:
            self._send(Stepped(dict(steps)))

    def ended(self, result: Made | Missed, seconds: float) -> None:
        """See the contract."""
        try:
            require_bounded(self._running[result.id].shape, result)
        except EngineError as error:
            result = Missed(result.id, error.code, error.message)
        self._forget(result.id)
        before, self._texts = self._texts, self._engine.texts
        texts = TextUse(self._texts.kept - before.kept, self._texts.made - before.made)
        self._send(Ended(result, seconds, self._engine.weights_revision, texts))

    def failed(self, code: Code, message: str) -> RowsFailed | None:
        """What is left of them failed: what is to be said of it, if anything is."""
        failed = frozenset(self._running)
        if not failed:
            return None
        for item in failed:
            self._forget(item)
        return RowsFailed(failed, code, message)

    def _forget(self, item: str) -> None:
        self._running.pop(item, None)
        self._canceled.discard(item)
