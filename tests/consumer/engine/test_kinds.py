"""Pictures from pictures, by every family: alike in any company, and the source where there is no mask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from consumer.engine.contract import Batch, EngineError, Item, Made, Mask, Pixels, Row, Shape
from consumer.engine.diffusers import DiffusersEngine
from ops.families import FAMILIES, make_pipeline
from schemas.catalog import Defaults, ModelCard
from schemas.errors import Code
from schemas.requests import Kind
from tests.consumer.engine.test_continuous import Guests, alone, images_of

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore:true_cfg_scale is passed"
)

SIDE = 64
KINDS: tuple[Kind, ...] = ("text_to_image", "image_to_image", "inpainting")
SHAPE = Shape(SIDE, SIDE, 4, 0.0)


def pictures() -> tuple[Pixels, ...]:
    drawn = np.random.default_rng(5).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    return tuple(np.ascontiguousarray(one.repeat(SIDE // 4, 0).repeat(SIDE // 4, 1)) for one in drawn)


def left_half() -> Mask:
    mask = np.zeros((SIDE, SIDE), dtype=np.bool_)
    mask[:, : SIDE // 2] = True
    return mask


ITEMS = tuple(
    Item(str(number), prompt, seed=number, source=source)
    for number, (prompt, source) in enumerate(
        zip(["a red circle", "something much longer than that", "three"], pictures(), strict=True)
    )
)


@pytest.fixture(scope="module", params=["easel-tiny", *FAMILIES])
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, cards: dict[str, ModelCard]
) -> Iterator[DiffusersEngine]:
    if request.param == "easel-tiny":
        card = cards["easel-tiny"]
    else:
        folder = tmp_path_factory.mktemp(request.param)
        make_pipeline(request.param, "tiny").save_pretrained(folder)
        card = ModelCard(pipeline=Path(folder), defaults=Defaults(width=SIDE, height=SIDE, steps=4))
    engine = DiffusersEngine()
    engine.load(card.model_copy(update={"kinds": KINDS}))
    yield engine
    engine.unload()


def render(engine: DiffusersEngine, shape: Shape, *items: Item) -> np.ndarray:
    return engine.render(Batch("", shape, items), lambda _: None, lambda _: False)


def shaped(kind: Kind, skipped: int) -> tuple[Shape, tuple[Item, ...]]:
    mask = left_half() if kind == "inpainting" else None
    return replace(SHAPE, kind=kind, skipped=skipped), tuple(replace(item, mask=mask) for item in ITEMS)


def test_all_kinds_run_beside_each_other_each_at_its_own_step(engine: DiffusersEngine) -> None:
    text, from_source, masked = (
        Row(replace(shape, steps=steps), replace(items[number], id=kind))
        for number, (kind, steps, (shape, items)) in enumerate(
            (kind, steps, shaped(kind, skipped))
            for kind, steps, skipped in zip(KINDS, (5, 4, 4), (0, 2, 1), strict=True)
        )
    )
    images = images_of(engine, [text], Guests({2: [from_source], 3: [masked]}))
    for one in (text, from_source, masked):
        assert np.abs(images[one.item.id] - alone(engine, one)).max() <= 1e-5


@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize("skipped", [0, 2])
def test_one_seed_is_one_picture_in_any_company(engine: DiffusersEngine, kind: Kind, skipped: int) -> None:
    shape, items = shaped(kind, skipped)
    together = render(engine, shape, *items)
    for index, item in enumerate(items):
        assert np.abs(render(engine, shape, item)[0] - together[index]).max() <= 1e-5


@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize(("steps", "skipped"), [(4, 0), (4, 3), (22, 7), (49, 48)])
def test_the_steps_that_run_are_those_that_are_paid_for(
    engine: DiffusersEngine, kind: Kind, steps: int, skipped: int
) -> None:
    """Also where the strength, 15/22 or 1/49, is no float, and families round it up or down."""
    shape, items = shaped(kind, skipped)
    shape = replace(shape, steps=steps)
    seen: list[int] = []
    engine.generate(Batch("", shape, items[:1]), seen.append, lambda _: False)
    assert seen == list(range(1, shape.denoising_steps + 1))


def test_each_picture_has_its_own_source(engine: DiffusersEngine) -> None:
    shape, items = shaped("image_to_image", 3)
    as_it_is = render(engine, shape, items[0])
    other = render(engine, shape, replace(items[0], source=ITEMS[1].source))
    assert np.abs(as_it_is - other).max() > 1e-3


def test_what_is_not_masked_is_the_source_to_the_bit(engine: DiffusersEngine) -> None:
    shape, items = shaped("inpainting", 0)
    for item, made in zip(items, engine.generate(Batch("", shape, items), _ignore, lambda _: False), strict=True):
        assert isinstance(made, Made)
        assert item.source is not None
        assert item.mask is not None
        assert np.array_equal(made.pixels[~item.mask], item.source[~item.mask])
        assert not np.array_equal(made.pixels[item.mask], item.source[item.mask])


def test_less_strength_stays_nearer_to_the_source(cards: dict[str, ModelCard]) -> None:
    """By the model that is trained: weights that are drawn make nothing of a source."""
    engine = DiffusersEngine()
    engine.load(cards["easel-tiny"].model_copy(update={"kinds": KINDS}))
    shape = replace(SHAPE, width=96, height=96, steps=12, guidance=3.0)
    drawn = render(engine, shape, Item("", "a large blue square on a white background", 1))[0]
    source = (drawn * 255).round().astype(np.uint8)
    item = Item("", "a large green square on a white background", 2, source=source)
    far, near = (
        np.abs(render(engine, replace(shape, kind="image_to_image", skipped=skipped), item)[0] - drawn).mean()
        for skipped in (0, 9)
    )
    assert near < far / 2


def test_a_kind_that_the_entry_does_not_name_is_refused(cards: dict[str, ModelCard]) -> None:
    engine = DiffusersEngine()
    engine.load(cards["easel-tiny"])
    shape, items = shaped("image_to_image", 0)
    with pytest.raises(EngineError, match="no image_to_image") as failure:
        engine.generate(Batch("", shape, items), _ignore, lambda _: False)
    assert failure.value.code is Code.MODEL_UNAVAILABLE


def _ignore(_step: int) -> None:
    """Nobody counts."""
