"""The engine in a supervised process of its own, as the worker sees it.

The process may be killed at any moment, by the kernel, a driver or us; it comes back by itself, and only the batch that
was in it is told. Nothing here imports torch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from consumer.engine.connection import ChildConnection, EngineLostError, start_child
from consumer.engine.contract import Batch, EngineError, OnPreview, Row, no_preview
from consumer.engine.growth import MemoryWatch
from consumer.engine.loaded import LoadedModels
from consumer.engine.rows import RunningRows
from consumer.engine.weights import expected_bytes
from consumer.engine.wire import Cancel, Done, Ended, FromChild, Generate, Held, Load, Loaded, Preview, RowEvent, Step
from schemas.catalog import ModelCard
from schemas.errors import Code

__all__ = ["BatchDone", "EngineLostError", "EngineProcess"]

LOAD_S = 1_800.0
"""Limit on loading a model: tens of gigabytes over a network file system."""
_BACKOFF_S = 0.25
_MAX_BACKOFF_S = 30.0


def _ignore(*_: object) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True)
class BatchDone:
    """What came of a batch; ``seconds`` of engine time."""

    done: Done
    weights_revision: str


class EngineProcess:
    """Runs batches, one at a time, in a child process that is started again whenever it ends.

    ``cards``: the models that may be asked for. They stay loaded as long as their weights take no more than
    ``models_bytes`` together; one may always be. ``engine`` overrides the engine of every card. A child that reports no
    step for ``hang_s`` is killed; one that has grown above ``memory_mib`` of main memory is ended between two batches.
    ``on_restart`` is told the cause of each restart: ``died``, ``hang`` or ``memory``; ``on_load`` each model that was
    loaded, ``on_leave`` each that left for another, ``on_stderr`` lines about it. ``environment``: variables for it.
    """

    def __init__(
        self,
        cards: Mapping[str, ModelCard],
        *,
        hang_s: float,
        memory_mib: int | None = None,
        engine: str | None = None,
        models_bytes: int = 0,
        environment: Mapping[str, str] | None = None,
        on_restart: Callable[[str], None] = _ignore,
        on_load: Callable[[str], None] = _ignore,
        on_leave: Callable[[str], None] = _ignore,
        on_stderr: Callable[[str], None] = _ignore,
        on_preview: OnPreview = no_preview,
    ) -> None:
        self._cards, self._engine = cards, engine
        self._hang_s, self._models_bytes = hang_s, models_bytes
        self._environment = environment or {}
        self._on_restart, self._on_load = on_restart, on_load
        self._on_stderr, self._on_preview = on_stderr, on_preview
        self._memory = MemoryWatch(memory_mib, on_stderr)
        self._child: ChildConnection | None = None
        self._up, self._busy = asyncio.Event(), asyncio.Lock()
        self._supervisor: asyncio.Task[None] | None = None
        self._failures, self._stopped = 0, False
        self._loaded = LoadedModels(on_leave)
        self._wanted: str | None = None
        self._canceled: set[str] = set()
        self._rows: RunningRows | None = None

    @property
    def up(self) -> bool:
        """Whether the child runs and has the last wanted model loaded."""
        return self._up.is_set()

    @property
    def loaded(self) -> dict[str, str]:
        """The models that are loaded, with the revisions of their weights."""
        return self._loaded.revisions

    @property
    def pid(self) -> int | None:
        return None if self._child is None else self._child.pid

    def most_images(self, model: str, pixels: int) -> int | None:
        """How many pictures of this size fit in memory together; None while nothing is known of that."""
        return self._loaded.most_images(model, pixels, self._models_bytes)

    async def start(self, *models: str) -> None:
        """Start the child and load the first of ``models``, and of the others those for which none has to leave.

        Raises ``EngineLostError`` when the child doesn't come up, ``EngineError`` when the model can't be loaded.
        """
        try:
            self._child = await start_child(self._on_stderr, self._environment)
            for model in models:
                room = self._models_bytes - self._loaded.weights
                if model == models[0] or expected_bytes(self._cards[model]) <= room:
                    await self._load(self._child, model)
        except BaseException:
            await self.stop()
            raise
        self._up.set()
        self._supervisor = asyncio.create_task(self._supervise(), name="engine-supervisor")

    async def available(self) -> None:
        """Wait until a child is up; returns at once after ``stop``."""
        await self._up.wait()

    async def supervised(self) -> None:
        """Wait while lost children are replaced; raises what keeps that from being done."""
        if self._supervisor is not None:
            await asyncio.shield(self._supervisor)

    async def generate(
        self, batch: Batch, on_step: Callable[[int], None], on_left: Callable[[str, int], None] = _ignore
    ) -> BatchDone:
        """Run a batch; waits for the batch before it, and for a child that is being started.

        ``on_left(id, steps)``: this item was canceled, and left when so many steps were done.

        Raises ``EngineError`` when the call failed, ``EngineLostError`` when the child was lost in it.
        """
        found: list[BatchDone] = []

        def hear(answer: FromChild) -> bool:
            if isinstance(answer, Done):
                self._loaded.revisions[batch.model] = answer.weights_revision
                found.append(BatchDone(answer, answer.weights_revision))
            elif isinstance(answer, Step):
                for item in answer.left:
                    on_left(item, answer.step)
                if answer.step > 0:
                    on_step(answer.step)
            return bool(found)

        child = await self._converse(batch.model, lambda child: child.send(Generate(batch)), hear)
        if self._memory.exceeded(child.pid):
            self._end(child, "memory")
        return found[0]

    async def generate_rows(self, model: str, rows: Sequence[Row], on_event: Callable[[RowEvent], None]) -> None:
        """Make these rows, and those that ``join`` them, each at a step of its own; returns when all have ended.

        Waits as ``generate`` does. Raises ``EngineLostError`` when the child was lost with those that had not ended,
        ``EngineError`` when the model can't be loaded.
        """
        self._rows = running = RunningRows(model, rows, on_event)

        def hear(answer: FromChild) -> bool:
            done, child = running.hear(answer), running.child
            if isinstance(answer, Ended) and child is not None:
                self._loaded.revisions[model] = answer.weights_revision
                # Under load there is always somebody who joins: it would never be between batches.
                running.open = running.open and not self._memory.exceeded(child.pid)
            if done and child is not None and not running.open:
                self._end(child, "memory")
            return done

        try:
            await self._converse(model, running.begin, hear)
        finally:
            self._rows = None

    def join(self, rows: Sequence[Row]) -> bool:
        """Have these rows join those that run; False when they can't, and are to be the next."""
        return self._rows is not None and self._rows.join(rows)

    def cancel(self, ids: Iterable[str]) -> None:
        """These items of the batch that runs, or is about to, are not wanted any more."""
        wanted = frozenset(ids)
        self._canceled |= wanted
        if self._child is not None:
            self._child.send(Cancel(wanted))

    async def stop(self) -> None:
        """Kill the child, also in the middle of a batch, for good. A second call does nothing."""
        self._stopped = True
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.wait([self._supervisor])
        child, self._child = self._child, None
        if child is not None:
            child.kill("stopped")
            await child.ended()
        # Whoever waits for a start is let go, and told that there will be none.
        self._up.set()

    async def _converse(
        self, model: str, begin: Callable[[ChildConnection], None], hear: Callable[[FromChild], bool]
    ) -> ChildConnection:
        """Have a child with this model, give it the work, and hear its answers until one is the last."""
        async with self._busy:
            while True:
                child = await self._running()
                begun = False
                try:
                    if model not in self._loaded.revisions:
                        begun = True
                        try:
                            await self._load(child, model)
                        except EngineLostError as error:
                            raise EngineLostError("load", error.how, error.last_words, killed=error.killed) from None
                    begin(child)
                    if self._canceled:
                        # While the model was being loaded, or by a child that is gone.
                        child.send(Cancel(frozenset(self._canceled)))
                    while True:
                        answer = await self._answer(child, self._hang_s)
                        begun = True
                        if hear(answer):
                            self._failures = 0
                            self._wanted = model
                            return child
                except EngineLostError as error:
                    # Also one that lives, and said what it should not: nothing after it can be told apart.
                    child.kill()
                    if not self._stopped:
                        self._up.clear()
                    # One that ended before it took the batch ended of something else: the next child gets it.
                    if begun or error.cause != "died":
                        raise
                except BaseException as error:
                    # What it still says would be taken for answers about the next batch; a problem is its last word.
                    if not isinstance(error, EngineError):
                        self._end(child, "died")
                    raise
                finally:
                    if begun:
                        self._canceled.clear()

    async def _running(self) -> ChildConnection:
        while True:
            await self._up.wait()
            child = self._child
            if child is None or self._stopped:
                raise EngineLostError("stopped", "the engine has been stopped")
            if child.alive:
                return child
            self._up.clear()

    def _end(self, child: ChildConnection, cause: str) -> None:
        self._up.clear()
        child.kill(cause)

    async def _load(self, child: ChildConnection, model: str) -> None:
        card = self._cards.get(model)
        if card is None:
            raise EngineError(Code.MODEL_UNAVAILABLE, f"this worker's catalogue has no model {model!r}")
        self._wanted = model
        child.send(Load(self._engine or card.engine, model, card, self._models_bytes))
        answer = await self._answer(child, LOAD_S)
        if not isinstance(answer, Loaded):
            raise EngineLostError("died", f"the engine answered {type(answer).__name__} to a load")
        self._memory.loaded(child.pid)
        self._on_load(model)

    async def _answer(self, child: ChildConnection, limit_s: float) -> FromChild:
        """The child's next message but those beside the work: about the models that it holds, and previews."""
        while isinstance(answer := await child.answer(limit_s), Held | Preview):
            if isinstance(answer, Held):
                self._loaded.note(answer)
            else:
                self._on_preview(answer.id, answer.step, answer.pixels)
        return answer

    async def _supervise(self) -> None:
        while True:
            child = self._child
            if child is not None:
                cause = await child.ended()
                self._up.clear()
                self._on_restart(cause)
            # A child that dies at once, each time, must not take a core for starting it.
            await asyncio.sleep(min(_BACKOFF_S * 2**self._failures, _MAX_BACKOFF_S))
            self._failures += 1
            self._loaded.revisions = {}
            try:
                self._child = await start_child(self._on_stderr, self._environment)
                if self._wanted is not None:
                    await self._load(self._child, self._wanted)
            except EngineError as error:
                # The batch that asks for the model gets the error; others may run.
                self._on_stderr(str(error))
            except EngineLostError as error:
                # If it is the model that kills it, the next batch that wants it is to learn so, and others are to run.
                self._wanted = None
                self._on_stderr(str(error))
                continue
            self._up.set()
