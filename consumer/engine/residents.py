"""The models that one engine process has loaded: as many as there is memory for, the least lately used leaves first."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Mapping

from consumer.engine.contract import Engine, EngineError
from consumer.engine.engines import make_engine
from consumer.engine.weights import expected_bytes
from consumer.engine.wire import Load, Resident
from schemas.errors import Code

__all__ = ["Residents"]


class Residents:
    """An engine for each model that is loaded, in the order of their last use."""

    def __init__(self) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._sizes: dict[str, int] = {}
        """As measured, also of those that have left."""
        self._too_much: int | None = None
        """So many bytes of weights were seen to leave no room for a batch, or for one of them."""

    def load(self, wanted: Load) -> None:
        """Have this model ready, and warm; others leave for it until all keep within ``wanted.models_bytes``.

        Raises ``EngineError(model_unavailable)`` with the remedy.
        """
        self._drop(wanted.model)
        size = self._sizes.get(wanted.model)
        self._make_room(wanted.models_bytes, expected_bytes(wanted.card) if size is None else size)
        try:
            engine = _ready(wanted)
        except EngineError as error:
            if error.code is not Code.OUT_OF_MEMORY:
                raise
            others = self.leave_only(wanted.model)
            if not others:
                raise _does_not_fit(wanted) from error
            try:
                engine = _ready(wanted)
            except EngineError as again:
                raise (_does_not_fit(wanted) if again.code is Code.OUT_OF_MEMORY else again) from again
            self.hold_less_than(others + engine.footprint.weights)
        size = self._sizes[wanted.model] = engine.footprint.weights
        self._make_room(wanted.models_bytes, size)
        self._engines[wanted.model] = engine

    def use(self, model: str) -> Engine:
        """The engine of a model, which is then the last to leave. Raises ``EngineError(model_unavailable)``."""
        engine = self._engines.get(model)
        if engine is None:
            raise EngineError(Code.MODEL_UNAVAILABLE, f"the model {model!r} is not loaded")
        self._engines.move_to_end(model)
        return engine

    def leave_only(self, model: str) -> int:
        """Give this model the memory of all others: so many bytes of weights; 0 when there are no others."""
        others = [name for name in self._engines if name != model]
        for name in others:
            self._drop(name)
        if others:
            print(f"memory ran out: {', '.join(others)} left it to {model}", file=sys.stderr, flush=True)
        return sum(self._sizes[name] for name in others)

    def hold_less_than(self, weights: int) -> None:
        """So many bytes of weights left too little for anything else: fewer are held from now on."""
        self._too_much = weights if self._too_much is None else min(weights, self._too_much)

    def told(self) -> Mapping[str, Resident]:
        """What the worker is to know of each."""
        return {name: Resident(engine.weights_revision, engine.footprint) for name, engine in self._engines.items()}

    def _make_room(self, models_bytes: int, size: int) -> None:
        if self._too_much is not None:
            models_bytes = min(models_bytes, self._too_much - 1)
        while self._engines and sum(self._sizes[name] for name in self._engines) + size > models_bytes:
            self._drop(next(iter(self._engines)))

    def _drop(self, model: str) -> None:
        engine = self._engines.pop(model, None)
        if engine is not None:
            engine.unload()


def _ready(wanted: Load) -> Engine:
    engine = make_engine(wanted.engine)
    try:
        engine.load(wanted.card)
        engine.warm()
    except BaseException:
        engine.unload()
        raise
    return engine


def _does_not_fit(wanted: Load) -> EngineError:
    return EngineError(
        Code.MODEL_UNAVAILABLE,
        f"the model {wanted.model!r} does not fit in the memory of {wanted.card.device}: "
        "choose a smaller dtype, `offload`, or another device in the catalogue",
    )
