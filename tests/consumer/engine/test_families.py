"""What a card may say of a pipeline, on tiny ones of the families; what all engines promise is in ``test_contract``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from consumer.engine.contract import Batch, Item, Shape
from consumer.engine.diffusers import DiffusersEngine
from ops.families import make_pipeline
from schemas.catalog import Defaults, ModelCard

# diffusers' own Euler scheduler hands a tensor to numpy in a way that numpy 2 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SHAPE = Shape(64, 64, 2, 0.0)
ITEMS = tuple(
    Item(str(number), prompt, seed=number)
    for number, prompt in enumerate(["a red circle", "something much longer than that", "three"])
)


def render(engine: DiffusersEngine, *items: Item) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return engine.render(Batch("", SHAPE, items), lambda _: None, lambda _: False)


def test_weights_are_drawn_alike_each_time() -> None:
    first, second = (make_pipeline("z-image", "tiny").transformer.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("option", [{"vae_slicing": True}, {"vae_tiling": True}, {"offload": "model"}])
def test_what_saves_memory_changes_no_picture(option: dict[str, object], tmp_path: Path) -> None:
    make_pipeline("z-image", "tiny").save_pretrained(tmp_path)
    defaults = Defaults(width=SHAPE.width, height=SHAPE.height, steps=SHAPE.steps)
    card = ModelCard(pipeline=tmp_path, defaults=defaults)
    plain, saving = DiffusersEngine(), DiffusersEngine()
    plain.load(card)
    saving.load(card.model_copy(update=option))
    assert np.abs(render(plain, *ITEMS) - render(saving, *ITEMS)).max() <= 1e-5


@pytest.mark.parametrize("mode", ["blocks", "graphs"])
def test_compiled_or_not_it_runs(mode: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Where there is no compiler for it, the model runs as it is, and the log says so."""
    make_pipeline("z-image", "tiny").save_pretrained(tmp_path)
    defaults = Defaults(width=SHAPE.width, height=SHAPE.height, steps=SHAPE.steps)
    card = ModelCard(pipeline=tmp_path, defaults=defaults)
    plain, compiled = DiffusersEngine(), DiffusersEngine()
    plain.load(card)
    compiled.load(card.model_copy(update={"compile": mode}))
    compiled.warm()
    said = capfd.readouterr().err
    assert np.abs(render(plain, ITEMS[0]) - render(compiled, ITEMS[0])).max() <= 1e-3, said


def test_a_compiler_that_fails_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make_pipeline("z-image", "tiny").save_pretrained(tmp_path)
    defaults = Defaults(width=SHAPE.width, height=SHAPE.height, steps=SHAPE.steps)
    engine = DiffusersEngine()
    engine.load(ModelCard(pipeline=tmp_path, defaults=defaults, compile="blocks"))
    engine._pipeline.transformer.forward = _broken
    engine.warm()
    assert "the model runs without" in capfd.readouterr().err
    assert np.isfinite(render(engine, ITEMS[0])).all()


def _broken(*_: object, **__: object) -> None:
    raise RuntimeError("no compiler here")
