"""A preview looks like its picture: by the model that is trained, whose autoencoder is the measure."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from consumer.engine.contract import Batch, Item, Made, Pixels, Shape
from consumer.engine.diffusers import DiffusersEngine
from schemas.catalog import ModelCard

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

SHAPE = Shape(96, 96, 12, 3.0)
ITEM = Item("1", "a large blue square on a yellow background", 1, preview=True)


@pytest.fixture
def engine(cards: dict[str, ModelCard]) -> DiffusersEngine:
    engine = DiffusersEngine()
    engine.load(cards["easel-tiny"].model_copy(update={"previews_every": 1}))
    return engine


def scaled(pixels: Pixels, side: int) -> np.ndarray:
    cell = len(pixels) // side
    found: np.ndarray = pixels.reshape(side, cell, side, cell, 3).mean((1, 3))
    return found


def test_it_comes_to_look_like_the_picture(engine: DiffusersEngine) -> None:
    seen: dict[int, Pixels] = {}
    engine.show(lambda _, step, pixels: seen.update({step: pixels}))
    (made,) = engine.generate(Batch("", SHAPE, (ITEM,)), lambda _: None, lambda _: False)
    assert isinstance(made, Made)
    assert sorted(seen) == list(range(1, 12))
    first, later, last = (np.abs(seen[step] - scaled(made.pixels, len(seen[step]))).mean() for step in (1, 6, 11))
    assert last < later < first
    assert last < first / 2


def test_one_that_can_not_be_made_costs_nobody_the_picture(
    engine: DiffusersEngine, capfd: pytest.CaptureFixture[str]
) -> None:
    engine.show(_unexpected)
    engine._previewer._factors = torch.zeros(2, 2)
    (made,) = engine.generate(Batch("", SHAPE, (ITEM,)), lambda _: None, lambda _: False)
    assert isinstance(made, Made)
    assert "RuntimeError" in capfd.readouterr().err


def _unexpected(*_: object) -> None:
    raise AssertionError
