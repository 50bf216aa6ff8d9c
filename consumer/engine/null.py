"""An engine without a model, for benches and fault tests: real pictures at once, or slowly, as a test wants it."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from consumer.engine.contract import (
    Batch,
    Company,
    Item,
    Made,
    Missed,
    OnPreview,
    Pixels,
    Row,
    Shape,
    TextUse,
    no_preview,
)
from consumer.engine.memory import Footprint
from consumer.engine.null_faults import BLOATING_PROMPT, befall
from schemas.catalog import ModelCard

__all__ = ["STEP_VARIABLE", "NullEngine"]

STEP_VARIABLE = "EASEL_NULL_STEP_S"
"""Seconds that a step takes; none when absent."""

_CELLS = 8
_BLOATED = 8


class NullEngine:
    """Draws a mosaic of 8 x 8 colours from the prompt and the seed."""

    weights_revision = "null-1"
    footprint = Footprint()

    def __init__(self) -> None:
        self._step_s = float(os.environ.get(STEP_VARIABLE, "0"))
        self._previews_every: int | None = None
        self._on_preview: OnPreview = no_preview

    @property
    def texts(self) -> TextUse:
        """There is nothing to encode."""
        return TextUse(0, 0)

    def show(self, on_preview: OnPreview) -> None:
        """See the contract."""
        self._on_preview = on_preview

    def load(self, card: ModelCard) -> None:
        """There is nothing to load."""
        self._previews_every = card.previews_every

    def warm(self) -> None:
        """There is nothing to warm."""

    def generate(
        self, batch: Batch, on_step: Callable[[int], None], is_canceled: Callable[[str], bool]
    ) -> Sequence[Made | Missed]:
        """See the contract. A canceled item leaves at the next step."""
        left = list(batch.items)
        for step in range(1, batch.shape.denoising_steps + 1):
            left = [item for item in left if not is_canceled(item.id)]
            if not left:
                break
            if self._step_s:
                time.sleep(self._step_s)
            on_step(step)
            for item in left:
                self._preview(item, batch.shape, step)
            befall(item.prompt for item in left)
        return [Made(item.id, _drawn(item, batch.shape)) for item in left]

    def generate_rows(self, rows: Sequence[Row], company: Company) -> None:
        """See the contract."""
        running = {row.item.id: row for row in rows}
        steps = dict.fromkeys(running, 0)
        began = dict.fromkeys(running, time.monotonic())
        while running:
            for name in [name for name in running if company.is_canceled(name)]:
                del running[name]
                company.left(name, steps[name])
            if self._step_s and running:
                time.sleep(self._step_s)
            for name in running:
                steps[name] += 1
            company.stepped({name: steps[name] for name in running})
            for name, row in running.items():
                self._preview(row.item, row.shape, steps[name])
            befall(row.item.prompt for row in running.values())
            for name in [name for name, row in running.items() if steps[name] >= row.shape.denoising_steps]:
                row = running.pop(name)
                company.ended(Made(name, _drawn(row.item, row.shape)), time.monotonic() - began[name])
            for row in company.joined() if running else ():
                running[row.item.id] = row
                steps[row.item.id] = 0
                began[row.item.id] = time.monotonic()

    def _preview(self, item: Item, shape: Shape, step: int) -> None:
        every = self._previews_every
        if item.preview and every and step % every == 0 and step < shape.denoising_steps:
            self._on_preview(item.id, step, _mosaic(item, Shape(_CELLS, _CELLS, 1, 0.0)))

    def unload(self) -> None:
        """There is nothing to unload."""


def _drawn(item: Item, shape: Shape) -> Pixels:
    return _over_source(item, shape, _mosaic(item, shape))


def _mosaic(item: Item, shape: Shape) -> Pixels:
    # As with models: what nothing leads away from makes no difference.
    negative = item.negative_prompt if shape.guidance else None
    text = "\0".join([item.prompt, negative or "", str(item.seed)])
    drawn = hashlib.shake_256(text.encode()).digest(_CELLS * _CELLS * 3)
    colours = np.frombuffer(drawn, dtype=np.uint8).reshape(_CELLS, _CELLS, 3)
    times = _BLOATED if item.prompt.startswith(BLOATING_PROMPT) else 1
    # The few rows first: to draw a row again is a copy, to draw a pixel again is not.
    return colours.take(_cells(shape.width * times), axis=1).take(_cells(shape.height * times), axis=0)


def _over_source(item: Item, shape: Shape, drawn: Pixels) -> Pixels:
    """As much of the source as is skipped; all of it outside the mask."""
    if item.source is None:
        return drawn
    kept = shape.skipped / shape.steps
    mixed = (item.source * kept + drawn * (1 - kept)).round().astype(np.uint8)
    return mixed if item.mask is None else np.where(item.mask[..., None], mixed, item.source)


@lru_cache(maxsize=64)
def _cells(side: int) -> npt.NDArray[np.intp]:
    """The cell in which each row or column lies."""
    return np.arange(side) * _CELLS // side
