"""What an engine is: something that makes batches of pictures. It knows nothing of Kafka, tenants or stores.

One file implements it, one entry in ``engines`` names it, and one contract test runs over all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from consumer.engine.memory import Footprint
from schemas.catalog import ModelCard
from schemas.errors import Code
from schemas.requests import Kind

__all__ = [
    "Batch",
    "Company",
    "Engine",
    "EngineBrokenError",
    "EngineError",
    "Item",
    "Kind",
    "Made",
    "Mask",
    "Missed",
    "OnPreview",
    "Pixels",
    "Row",
    "Shape",
    "TextUse",
    "no_preview",
]

Pixels = npt.NDArray[np.uint8]
"""RGB, height x width x 3."""

Mask = npt.NDArray[np.bool_]
"""Height x width; true where a picture is to be made anew."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What all pictures of a batch have in common.

    ``negative`` says whether they have negative prompts: without one, pipelines take an embedding of their own, which
    is not that of an empty text. ``adapters`` are names and scales, in the order in which they apply. The first
    ``skipped`` of the ``steps`` don't run: the source stands for what they would have made.
    """

    width: int
    height: int
    steps: int
    guidance: float
    negative: bool = False
    adapters: tuple[tuple[str, float], ...] = ()
    kind: Kind = "text_to_image"
    skipped: int = 0

    @property
    def denoising_steps(self) -> int:
        """The steps that run."""
        return self.steps - self.skipped


# Items and pictures travel by the hundred, and pickle asks a frozen class with slots for each field in Python.
@dataclass(frozen=True)
class Item:
    """One picture to make. ``id`` is the caller's, opaque, unique in its batch.

    ``source`` is there unless the shape's kind is ``text_to_image``, ``mask`` if it is ``inpainting``; both have the
    size of the shape.
    """

    id: str
    prompt: str
    seed: int
    negative_prompt: str | None = None
    source: Pixels | None = field(default=None, compare=False, repr=False)
    mask: Mask | None = field(default=None, compare=False, repr=False)
    preview: bool = False
    """Whether previews of it are wanted, where the model's entry has some."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Pictures of one model that run together."""

    model: str
    shape: Shape
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Made:
    """A picture."""

    id: str
    pixels: Pixels
    flagged: bool = False
    """The image check found in it what it looks for."""
    blurred: bool = False
    """And these are the pixels of a blur."""


@dataclass(frozen=True, slots=True)
class Missed:
    """A picture that was not made, though others of its batch may have been."""

    id: str
    code: Code
    message: str


@dataclass(frozen=True, slots=True)
class TextUse:
    """Prompts whose embeddings were kept from before, and those that were encoded."""

    kept: int
    made: int


@dataclass(frozen=True, slots=True)
class Row:
    """A picture that runs with others, each at a step of its own. They have in common the size, the adapters and the
    kind; steps, guidance and negative prompts may differ."""

    shape: Shape
    item: Item


class Company(Protocol):
    """Who comes to an engine that makes rows, and whom it tells. Nothing here waits."""

    def joined(self) -> Sequence[Row]:
        """Rows that have come since it was last asked; asked only while there are others left."""

    def is_canceled(self, item: str) -> bool:
        """Whether nobody wants this one any more."""

    def left(self, item: str, steps: int) -> None:
        """It was canceled, and is gone after so many steps."""

    def stepped(self, steps: Mapping[str, int]) -> None:
        """The rows that have made a step, with how many each has made. Told at each step of any."""

    def ended(self, result: Made | Missed, seconds: float) -> None:
        """One is done, so long after it came."""


class EngineError(Exception):
    """The whole call failed, for a reason that has a code. ``message`` may be shown to a tenant."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class EngineBrokenError(Exception):
    """The process can't be used any more, as after a fault of the GPU: it has to end, and a new one be started."""


OnPreview = Callable[[str, int, Pixels], None]


def no_preview(_id: str, _step: int, _pixels: Pixels) -> None:
    """Nobody looks."""


class Engine(Protocol):
    """One thread of a process of its own calls it, in the order ``load``, ``warm``, ``generate``, ``unload``."""

    @property
    def weights_revision(self) -> str:
        """Names the weights, with the adapters of the last batch: equal revisions make equal pictures.

        Valid after ``load``.
        """

    @property
    def footprint(self) -> Footprint:
        """What the model takes of memory. Valid after ``load``, and whole after ``warm``."""

    @property
    def texts(self) -> TextUse:
        """How the prompts since ``load`` got their embeddings."""

    def show(self, on_preview: OnPreview) -> None:
        """Have ``on_preview(id, n, pixels)`` told how an item looks after its n-th step, small, each ``previews_every``
        steps of the model's entry but not at the last, if the item wants it."""

    def load(self, card: ModelCard) -> None:
        """Load a model, in place of the one that was loaded. May take minutes.

        Raises ``EngineError``: ``model_unavailable`` with the remedy, ``out_of_memory`` for what might fit when other
        models of the process leave.
        """

    def warm(self) -> None:
        """Run, so that the first request doesn't pay for what is done at a first call, and measure what batches take.

        Raises what ``generate`` raises.
        """

    def generate(
        self, batch: Batch, on_step: Callable[[int], None], is_canceled: Callable[[str], bool]
    ) -> Sequence[Made | Missed]:
        """Make the pictures: one result for each item, except those canceled before they were done.

        A picture depends on the weights, the shape, and its own item, and on nothing else: not on who else is in the
        batch. Where its mask is false, it is its source. ``on_step(n)`` is called after the n-th step that runs, from
        1; ``is_canceled(id)`` may be asked at any step.

        Raises ``EngineError``: ``out_of_memory`` for what fewer items might fit in, ``generation_failed`` for the rest;
        and ``EngineBrokenError``.
        """

    def generate_rows(self, rows: Sequence[Row], company: Company) -> None:
        """Make these, and those that join them; returns when none is left. Each picture is as ``generate`` makes it.

        Raises as ``generate`` does, for all that have not ended.
        """

    def unload(self) -> None:
        """Give back the memory. A second call does nothing."""
