"""The families that people serve, tiny and with random weights, through the engine: whole, and alike in any company."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from consumer.engine.contract import Batch, Item, Made, Shape
from consumer.engine.diffusers import DiffusersEngine
from ops.families import FAMILIES, Family, make_pipeline
from schemas.catalog import Defaults, ModelCard

# diffusers' own Euler scheduler hands a tensor to numpy in a way that numpy 2 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SHAPE = Shape(64, 64, 2, 0.0)
ITEMS = tuple(
    Item(str(number), prompt, seed=number)
    for number, prompt in enumerate(["a red circle", "something much longer than that", "three"])
)


@pytest.fixture(scope="module", params=FAMILIES)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DiffusersEngine:
    family: Family = request.param
    folder = tmp_path_factory.mktemp(family)
    make_pipeline(family, "tiny").save_pretrained(folder)
    engine = DiffusersEngine()
    defaults = Defaults(width=SHAPE.width, height=SHAPE.height, steps=SHAPE.steps)
    engine.load(ModelCard(pipeline=Path(folder), defaults=defaults))
    return engine


def render(engine: DiffusersEngine, *items: Item) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return engine.render(Batch("", SHAPE, items), lambda _: None, lambda _: False)


def test_it_draws_what_is_asked_for(engine: DiffusersEngine) -> None:
    steps: list[int] = []
    made = engine.generate(Batch("", SHAPE, ITEMS), steps.append, lambda _: False)
    assert [result.id for result in made if isinstance(result, Made)] == [item.id for item in ITEMS]
    assert all(isinstance(result, Made) and result.pixels.shape == (64, 64, 3) for result in made)
    assert steps == [1, 2]


def test_one_seed_is_one_picture_in_any_company(engine: DiffusersEngine) -> None:
    together = render(engine, *ITEMS)
    assert np.ptp(together[0]) > 0.01
    for index, item in enumerate(ITEMS):
        assert np.abs(render(engine, item)[0] - together[index]).max() <= 1e-5


def test_another_seed_is_another_picture(engine: DiffusersEngine) -> None:
    first, second = render(engine, ITEMS[0], Item("1", ITEMS[0].prompt, seed=77))
    assert np.abs(first - second).max() > 0.01


@pytest.mark.filterwarnings("ignore:true_cfg_scale is passed")
def test_guidance_counts(engine: DiffusersEngine) -> None:
    """Families call it by different names; Z-Image's Turbo and the others without any run at 0."""
    without = render(engine, ITEMS[0])
    guided = engine.render(Batch("", replace(SHAPE, guidance=4.0), ITEMS[:1]), lambda _: None, lambda _: False)
    assert np.abs(without - guided).max() > 1e-3


def test_weights_are_drawn_alike_each_time() -> None:
    first, second = (make_pipeline("z-image", "tiny").transformer.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
