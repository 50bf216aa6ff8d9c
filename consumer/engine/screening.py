"""The image check: what is done about a picture before it leaves the engine.

A checker says whether it finds something in a picture; the model's policy says what follows. Another checker is a class
with these two, and a line in ``load_screen``.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from PIL import Image

from consumer.engine.contract import Made, Missed, Pixels
from consumer.engine.weights import checker_folder, checker_revision
from schemas.catalog import ModelCard, Safety
from schemas.errors import Code

__all__ = ["Checker", "Screen", "blurred", "load_screen"]

_BLURRED_TO = 12
"""Pixels of the longer side that are left of a picture before it is drawn large again: colours, and no shapes."""


class Checker(Protocol):
    """Looks at pictures, one at a time: what it says of one must not depend on its company, not even by rounding."""

    def finds(self, pixels: Pixels) -> bool:
        """Whether there is something in the picture that it looks for."""

    @property
    def nbytes(self) -> int:
        """What its weights take in memory."""


class Screen:
    """A checker with a policy. ``revision`` names both: other answers make other results."""

    def __init__(self, checker: Checker, policy: str, revision: str) -> None:
        self._checker = checker
        self._policy = policy
        self.revision = f"{policy}-{revision}"
        self.nbytes = checker.nbytes

    def passed(self, item: str, pixels: Pixels) -> Made | Missed:
        """What is said of a picture that was made. One that is blocked goes no further than this."""
        if not self._checker.finds(pixels):
            return Made(item, pixels)
        if self._policy == "block":
            return Missed(item, Code.CONTENT_BLOCKED, "the image check held the picture back: ask for something else")
        if self._policy == "blur":
            return Made(item, blurred(pixels), flagged=True, blurred=True)
        return Made(item, pixels, flagged=True)


def load_screen(card: ModelCard, device: str) -> Screen | None:
    """The image check of a model, if it has one. Raises ``EngineError(model_unavailable)``."""
    safety: Safety | None = card.safety
    if safety is None:
        return None
    from consumer.engine.safety_checker import SafetyChecker

    folder = checker_folder(safety)
    return Screen(SafetyChecker(folder, device), safety.policy, checker_revision(folder))


def blurred(pixels: Pixels) -> Pixels:
    """A picture of the same size in which nothing can be made out; what it showed can't be had back from it."""
    height, width = pixels.shape[:2]
    scale = _BLURRED_TO / max(height, width)
    small = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = (
        Image.fromarray(pixels).resize(small, Image.Resampling.BOX).resize((width, height), Image.Resampling.BICUBIC)
    )
    return np.ascontiguousarray(np.asarray(image, dtype=np.uint8))
