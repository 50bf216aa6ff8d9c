"""What the worker knows of the models that its engine's process holds."""

from __future__ import annotations

from collections.abc import Callable

from consumer.engine.memory import Footprint
from consumer.engine.wire import Held

__all__ = ["LoadedModels"]


class LoadedModels:
    """``revisions``: of the weights of each model that is loaded. ``on_leave`` is told each that left for another."""

    def __init__(self, on_leave: Callable[[str], None]) -> None:
        self.revisions: dict[str, str] = {}
        self._on_leave = on_leave
        self._footprints: dict[str, Footprint] = {}
        """Of each model that was ever loaded."""

    @property
    def weights(self) -> int:
        """What they take, in bytes."""
        return sum(self._footprints[model].weights for model in self.revisions)

    def note(self, held: Held) -> None:
        """The process says what it holds now."""
        for model in self.revisions.keys() - held.models.keys():
            self._on_leave(model)
        self.revisions = {model: resident.weights_revision for model, resident in held.models.items()}
        self._footprints |= {model: resident.footprint for model, resident in held.models.items()}

    def most_images(self, model: str, pixels: int, models_bytes: int) -> int | None:
        """How many pictures of this size fit in memory together; None while nothing is known of that."""
        footprint = self._footprints.get(model)
        return None if footprint is None else footprint.most_images(pixels, models_bytes)
