"""The engine's process: ``python -m consumer.engine.child FD PARENT``. Started by ``process``, never by hand.

It does as it is told over the socket FD, and dies when its parent does: a GPU must not be held by an orphan.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import queue
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import NoReturn, TypeVar

from consumer.engine.bounds import require_bounded
from consumer.engine.company import ChildCompany
from consumer.engine.contract import Batch, Engine, EngineBrokenError, EngineError, Made, Missed, TextUse
from consumer.engine.growth import die_first
from consumer.engine.residents import Residents
from consumer.engine.wire import (
    Cancel,
    Canceled,
    Done,
    FromChild,
    Generate,
    Held,
    Hello,
    Join,
    Load,
    Loaded,
    Preview,
    Problem,
    Resident,
    RowsFailed,
    Step,
    pack,
    receive,
)
from schemas.errors import Code

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1
_BROKEN = 70

Found = TypeVar("Found")


def main(arguments: list[str]) -> NoReturn:
    """Serve until the parent is gone."""
    descriptor, parent = int(arguments[0]), int(arguments[1])
    # A Ctrl-C or a supervisor's SIGTERM reaches the whole group; the worker alone decides when a batch may end.
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    # A library that crashes says in Python's words where; the worker keeps the end of our stderr.
    faulthandler.enable()
    _die_with(parent)
    die_first()
    connection = socket.socket(fileno=descriptor)
    work: queue.SimpleQueue[Load | Generate | Join] = queue.SimpleQueue()
    canceled: set[str] = set()
    threading.Thread(target=_listen, args=(connection, work, canceled), name="listen", daemon=True).start()
    _Worker(connection, canceled).run(work)


def _die_with(parent: int) -> None:
    """Have the kernel kill us with our parent, where it can; the end of the socket does so elsewhere."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def _listen(connection: socket.socket, work: queue.SimpleQueue[Load | Generate | Join], canceled: set[str]) -> None:
    while True:
        try:
            message = receive(connection)
        except (EOFError, OSError):
            # Also in the middle of a batch: nobody is there to take it.
            os._exit(0)
        if isinstance(message, Cancel):
            canceled |= message.ids
        else:
            work.put(message)


class _Worker:
    """Holds the engines; all of their calls come from the main thread, which CUDA and torch's thread pool prefer."""

    def __init__(self, connection: socket.socket, canceled: set[str]) -> None:
        self._connection = connection
        self._canceled = canceled
        self._residents = Residents()
        self._told: Mapping[str, Resident] = {}

    def run(self, work: queue.SimpleQueue[Load | Generate | Join]) -> NoReturn:
        self._send(Hello(os.getpid()))
        while True:
            message = work.get()
            answer = self._answer(message, work)
            self._tell_held()
            if answer is not None:
                self._send(answer)

    def _answer(
        self, message: Load | Generate | Join, work: queue.SimpleQueue[Load | Generate | Join]
    ) -> FromChild | None:
        try:
            if isinstance(message, Join):
                return self._make_rows(message, work)
            return self._load(message) if isinstance(message, Load) else self._generate(message.batch)
        except Exception as error:
            return _problem_of(error)

    def _tell_held(self) -> None:
        held = self._residents.told()
        # Revisions change with each batch's adapters: those come with the batch.
        if held.keys() != self._told.keys():
            self._told = held
            self._send(Held(held))

    def _load(self, message: Load) -> Loaded:
        self._residents.load(message)
        return Loaded()

    def _engine_of(self, model: str) -> Engine:
        engine = self._residents.use(model)
        engine.show(lambda name, step, pixels: self._send(Preview(name, step, pixels)))
        return engine

    def _generate(self, batch: Batch) -> Done:
        engine = self._engine_of(batch.model)
        left: set[str] = set()

        def on_step(step: int) -> None:
            # Told here, not by the engine: one that can't shrink its batch goes on with a picture that nobody gets.
            leaving: frozenset[str] = frozenset()
            # After the last step a picture is made: it may as well be had.
            if self._canceled and step < batch.shape.denoising_steps:
                leaving = frozenset(item.id for item in batch.items if item.id in self._canceled) - left
                left.update(leaving)
            self._send(Step(step, leaving))

        on_step(0)
        began, before = time.monotonic(), engine.texts
        try:
            made = self._with_room(
                engine,
                batch.model,
                lambda: len(batch.items) * batch.shape.width * batch.shape.height,
                lambda: engine.generate(batch, on_step, left.__contains__),
            )
        finally:
            # Before the answer: what comes after it is about the next batch.
            self._canceled.clear()
        for result in made:
            require_bounded(batch.shape, result)
        by_id: dict[str, Made | Missed] = {result.id: result for result in made if result.id not in left}
        results = tuple(by_id.get(item.id) or Canceled(item.id) for item in batch.items)
        after = engine.texts
        texts = TextUse(after.kept - before.kept, after.made - before.made)
        return Done(results, time.monotonic() - began, engine.weights_revision, texts)

    def _make_rows(self, first: Join, work: queue.SimpleQueue[Load | Generate | Join]) -> RowsFailed | None:
        """What becomes of rows is told as it happens; the answer is what ended those that were left."""
        engine = self._engine_of(first.model)
        company = ChildCompany(first.rows, work, self._canceled, engine, self._send)
        company.stepped({})
        try:
            self._with_room(engine, first.model, company.pixels, lambda: engine.generate_rows(company.running, company))
        except Exception as error:
            problem = _problem_of(error)
            return company.failed(problem.code, problem.message)
        return None

    def _with_room(self, engine: Engine, model: str, pixels: Callable[[], int], make: Callable[[], Found]) -> Found:
        try:
            return make()
        except EngineError as error:
            if error.code is not Code.OUT_OF_MEMORY or not engine.footprint.may_fit_alone(pixels()):
                raise
            # Before the batch has to shrink, the models that nobody uses now leave it their memory.
            others = self._residents.leave_only(model)
            if not others:
                raise
        self._tell_held()
        made = make()
        self._residents.hold_less_than(others + engine.footprint.weights)
        return made

    def _send(self, message: FromChild) -> None:
        try:
            self._connection.sendall(pack(message))
        except OSError:
            os._exit(0)


def _problem_of(error: Exception) -> Problem:
    """What is said of it; the process ends of what it can't go on after."""
    if isinstance(error, EngineError):
        return Problem(error.code, error.message)
    if isinstance(error, MemoryError):
        return Problem(Code.OUT_OF_MEMORY, "there is not enough memory for pictures of this size")
    # The details are the operator's, by way of stderr; a tenant gets the name of what happened.
    traceback.print_exception(error)
    if isinstance(error, EngineBrokenError):
        os._exit(_BROKEN)
    return Problem(Code.GENERATION_FAILED, f"the engine failed with {type(error).__name__}")


if __name__ == "__main__":
    main(sys.argv[1:])
