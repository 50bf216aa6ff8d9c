"""Kept embeddings make the same pictures to the bit, for every family; what changes a meaning is told apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from consumer.engine.contract import Batch, Item, Shape, TextUse
from consumer.engine.diffusers import DiffusersEngine
from consumer.engine.texts import TextCache
from ops.families import FAMILIES, make_pipeline
from schemas.catalog import Defaults, ModelCard

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore:true_cfg_scale is passed"
)

SHAPE = Shape(64, 64, 2, 4.0)
ITEMS = tuple(
    Item(str(number), prompt, seed=number)
    for number, prompt in enumerate(["a red circle", "something much longer than that", "three"])
)


@pytest.fixture(scope="module", params=["easel-tiny", *FAMILIES])
def card(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, cards: dict[str, ModelCard]
) -> ModelCard:
    if request.param == "easel-tiny":
        return cards["easel-tiny"]
    folder = tmp_path_factory.mktemp(request.param)
    make_pipeline(request.param, "tiny").save_pretrained(folder)
    return ModelCard(pipeline=Path(folder), defaults=Defaults(width=64, height=64, steps=2))


@pytest.fixture
def engine(card: ModelCard) -> Iterator[DiffusersEngine]:
    engine = DiffusersEngine()
    engine.load(card)
    yield engine
    engine.unload()


def render(engine: DiffusersEngine, shape: Shape, *items: Item) -> np.ndarray:
    return engine.render(Batch("", shape, items), lambda _: None, lambda _: False)


def counting(engine: DiffusersEngine) -> list[str]:
    """The text encoders that run from here on, one entry a call."""
    calls: list[str] = []
    for name in ("text_encoder", "text_encoder_2"):
        encoder = engine._pipeline.components.get(name)
        if encoder is not None:
            encoder.register_forward_pre_hook(lambda *_, name=name: calls.append(name))
    return calls


@pytest.mark.parametrize("negative", [False, True])
def test_kept_or_made_it_is_the_same_picture_to_the_bit(engine: DiffusersEngine, negative: bool) -> None:
    shape = replace(SHAPE, negative=negative)
    items = tuple(replace(item, negative_prompt=f"no {item.id}" if negative else None) for item in ITEMS)
    calls = counting(engine)
    made = render(engine, shape, *items)
    assert calls
    calls.clear()
    kept = render(engine, shape, *items)
    assert calls == []
    assert np.array_equal(made, kept)
    assert engine.texts.kept >= engine.texts.made > 0


def test_without_it_the_pictures_are_the_same(card: ModelCard, engine: DiffusersEngine, monkeypatch: Any) -> None:
    """To the bit for one alone, which stock pipelines encode alone too; and in company as close as company is."""
    with monkeypatch.context() as without:
        without.setattr(TextCache, "attach", lambda *_: None)
        stock = DiffusersEngine()
        stock.load(card)
    assert np.array_equal(render(stock, SHAPE, ITEMS[0]), render(engine, SHAPE, ITEMS[0]))
    assert stock.texts == TextUse(0, 0)
    assert np.abs(render(stock, SHAPE, *ITEMS) - render(engine, SHAPE, *ITEMS)).max() <= 1e-5


def test_one_prompt_for_several_pictures_is_encoded_once(engine: DiffusersEngine) -> None:
    calls = counting(engine)
    render(engine, replace(SHAPE, guidance=0.0), ITEMS[0])
    once = len(calls)
    render(engine, replace(SHAPE, guidance=0.0), *(Item(str(n), "another prompt", seed=n) for n in range(4)))
    assert len(calls) == 2 * once


class Encoder:
    """Something with an ``encode_prompt`` whose embeddings are of 400 bytes and tell what they were made from."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def encode_prompt(
        self, prompt: list[str], negative_prompt: list[str] | None = None, clip_skip: int = 0
    ) -> tuple[torch.Tensor, None]:
        self.made.append(prompt[0])
        return torch.full((1, 100), float(len(self.made))), None


def test_the_least_recently_used_leaves_first() -> None:
    cache, encoder = TextCache(lambda: "", max_bytes=1_000), Encoder()
    cache.attach(encoder)
    for prompt in ("a", "b", "a", "c", "a", "b"):
        encoder.encode_prompt([prompt])
    assert encoder.made == ["a", "b", "c", "b"]
    assert cache.used == TextUse(kept=2, made=4)


def test_whatever_changes_its_meaning_makes_it_another_prompt() -> None:
    adapters = [""]
    cache, encoder = TextCache(lambda: adapters[0]), Encoder()
    cache.attach(encoder)
    encoder.encode_prompt(["a"])
    encoder.encode_prompt(["a"], negative_prompt=["b"])
    encoder.encode_prompt(["a"], clip_skip=1)
    adapters[0] = "ink"
    encoder.encode_prompt(["a"])
    assert cache.used == TextUse(kept=0, made=4)
    adapters[0] = ""
    encoder.encode_prompt(["a"])
    assert cache.used == TextUse(kept=1, made=4)


def test_what_a_pipeline_does_to_its_embeddings_stays_its_own() -> None:
    cache, encoder = TextCache(lambda: ""), Encoder()
    cache.attach(encoder)
    encoder.encode_prompt(["a"])[0].zero_()
    assert encoder.encode_prompt(["a"])[0].min() == 1.0
