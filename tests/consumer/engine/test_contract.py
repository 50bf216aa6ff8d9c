"""One test of the contract, over every engine and every family of pipelines that we have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from consumer.engine.contract import Batch, Engine, Item, Made, Missed, Row, Shape
from consumer.engine.diffusers import DiffusersEngine
from consumer.engine.engines import ENGINES, make_engine
from schemas.catalog import ModelCard
from tests.consumer.engine.test_continuous import Guests

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:true_cfg_scale is passed"),
]

Generate = Callable[..., dict[str, np.ndarray]]
RED = Item("red", "a small red circle on a white background", 1)
BLUE = Item("blue", "a large blue square on a yellow background, and some more words", 2)
GREEN = Item("green", "a green star", 3)


@pytest.fixture(scope="module", params=["null", "easel-tiny", "random-sd", "z-image", "qwen-image", "flux", "sdxl"])
def card(request: pytest.FixtureRequest, cards: dict[str, ModelCard]) -> ModelCard:
    return cards[request.param]


@pytest.fixture(scope="module")
def engine(card: ModelCard) -> Iterator[Engine]:
    made = make_engine(card.engine)
    made.load(card)
    made.warm()
    yield made
    made.unload()
    made.unload()


def shape_of(card: ModelCard, *, guidance: float | None = None, negative: bool = False) -> Shape:
    given = card.defaults
    return Shape(
        given.width, given.height, given.steps, given.guidance if guidance is None else guidance, negative=negative
    )


@pytest.fixture
def generate(engine: Engine) -> Generate:
    def run(shape: Shape, *items: Item) -> dict[str, np.ndarray]:
        results = engine.generate(Batch("m", shape, items), lambda _: None, lambda _: False)
        assert [result.id for result in results] == [item.id for item in items]
        assert all(isinstance(result, Made) for result in results)
        return {result.id: result.pixels for result in results if isinstance(result, Made)}

    return run


def test_pictures_have_the_shape_that_was_asked_for(card: ModelCard, generate: Generate) -> None:
    for pixels in generate(shape_of(card), RED, BLUE).values():
        assert pixels.shape == (card.defaults.height, card.defaults.width, 3)
        assert pixels.dtype == np.uint8
        assert pixels.flags.c_contiguous
        assert pixels.std() > 0


@pytest.mark.parametrize("guidance", [0.0, None])
def test_a_picture_does_not_depend_on_its_company(card: ModelCard, generate: Generate, guidance: float | None) -> None:
    shape = shape_of(card, guidance=guidance)
    together = generate(shape, RED, BLUE, GREEN)
    for item in (RED, BLUE, GREEN):
        alone = generate(shape, item)[item.id].astype(int)
        # One step of 255 is rounding: 1e-5 of the float may be on either side of it.
        assert np.abs(alone - together[item.id]).max() <= 1
        assert (alone != together[item.id]).mean() < 1e-3


@pytest.mark.parametrize("guidance", [0.0, None])
def test_before_it_is_rounded_it_is_equal_within_a_hundred_thousandth(
    card: ModelCard, engine: Engine, guidance: float | None
) -> None:
    if not isinstance(engine, DiffusersEngine):
        # Whole numbers from the start, and those are compared above.
        return

    def floats(*items: Item) -> np.ndarray:
        return engine.render(Batch("m", shape_of(card, guidance=guidance), items), lambda _: None, lambda _: False)

    items = (RED, BLUE, GREEN)
    together = floats(*items)
    assert np.ptp(together[0]) > 0.01
    for index, item in enumerate(items):
        assert np.abs(floats(item)[0] - together[index]).max() <= 1e-5


def test_pictures_that_join_and_leave_are_as_in_a_batch(card: ModelCard, engine: Engine, generate: Generate) -> None:
    long, short = (replace(shape_of(card), steps=steps) for steps in (4, 2))
    guests = Guests({2: [Row(short, BLUE), Row(long, GREEN)]})
    engine.generate_rows([Row(long, RED)], guests)
    assert list(guests.results) == ["blue", "red", "green"]
    for shape, item in ((long, RED), (short, BLUE), (long, GREEN)):
        result = guests.results[item.id]
        assert isinstance(result, Made)
        assert guests.told(item.id) == list(range(1, shape.steps + 1))
        # As above: one step of 255 is rounding.
        assert np.abs(result.pixels.astype(int) - generate(shape, item)[item.id]).max() <= 1


def test_sizes_are_the_shapes_and_not_the_models(card: ModelCard, generate: Generate) -> None:
    shape = replace(shape_of(card), width=128, height=96)
    for pixels in generate(shape, RED, BLUE).values():
        assert pixels.shape == (96, 128, 3)


def test_several_pictures_of_one_prompt_differ_by_their_seeds(card: ModelCard, generate: Generate) -> None:
    items = [replace(RED, id=str(number), seed=number) for number in range(4)]
    pictures = generate(shape_of(card), *items)
    assert len({picture.tobytes() for picture in pictures.values()}) == 4
    # The same prompt and seed twice in one batch: two pictures, and they are the same.
    twins = generate(shape_of(card), replace(RED, id="one"), BLUE, replace(RED, id="other"))
    assert np.abs(twins["one"].astype(int) - twins["other"]).max() <= 1


def test_guidance_0_means_none(card: ModelCard, generate: Generate) -> None:
    """Nothing is led away from, whatever the pipeline would do when it isn't told."""
    plain = generate(shape_of(card, guidance=0.0), RED)["red"]
    led = generate(shape_of(card, guidance=0.0, negative=True), replace(RED, negative_prompt="blue, a square"))["red"]
    assert np.array_equal(plain, led)
    if card.engine != "null":
        assert not np.array_equal(plain, generate(shape_of(card, guidance=6.0), RED)["red"])


def test_the_same_again_is_the_same(card: ModelCard, generate: Generate) -> None:
    first, again = generate(shape_of(card), RED)["red"], generate(shape_of(card), RED)["red"]
    assert np.array_equal(first, again)


def test_seed_prompt_and_negative_prompt_make_a_difference(card: ModelCard, generate: Generate) -> None:
    shape = shape_of(card)
    base = generate(shape, RED)["red"]
    assert not np.array_equal(base, generate(shape, Item("red", RED.prompt, 99))["red"])
    assert not np.array_equal(base, generate(shape, Item("red", BLUE.prompt, RED.seed))["red"])
    negative = Item("red", RED.prompt, RED.seed, "blue, a square")
    led = generate(shape_of(card, negative=True), negative)["red"]
    assert np.array_equal(base, led) == (card.guidance_doubles_above is None)


def test_steps_are_told_as_they_are_done(card: ModelCard, engine: Engine) -> None:
    seen: list[int] = []
    engine.generate(Batch("m", shape_of(card), (RED,)), seen.append, lambda _: False)
    assert seen == list(range(1, card.defaults.steps + 1))


def test_a_canceled_batch_stops_at_the_next_step(card: ModelCard, engine: Engine) -> None:
    seen: list[int] = []
    results = engine.generate(Batch("m", shape_of(card), (RED, BLUE)), seen.append, lambda _: bool(seen))
    assert list(results) == []
    assert seen == [1]


def test_a_canceled_picture_leaves_its_mates_alone(card: ModelCard, engine: Engine, generate: Generate) -> None:
    whole = generate(shape_of(card), RED, BLUE)
    steps: list[int] = []
    left = engine.generate(
        Batch("m", shape_of(card), (RED, BLUE)), steps.append, lambda item: item == "red" and len(steps) >= 1
    )
    (blue,) = left
    assert isinstance(blue, Made)
    assert blue.id == "blue"
    assert np.array_equal(blue.pixels, whole["blue"])


def test_previews_are_for_who_wants_them_and_change_no_picture(card: ModelCard, engine: Engine) -> None:
    again = make_engine(card.engine)
    again.load(card.model_copy(update={"previews_every": 1}))
    told: list[tuple[str, int, tuple[int, ...]]] = []
    items = (replace(RED, preview=True), BLUE)
    again.show(lambda name, step, pixels: told.append((name, step, pixels.shape)))
    seen = again.generate(Batch("m", shape_of(card), items), lambda _: None, lambda _: False)
    assert [(name, step) for name, step, _ in told] == [("red", step) for step in range(1, card.defaults.steps)]
    assert all(shape[2] == 3 and max(shape) <= max(card.defaults.width, card.defaults.height) for *_, shape in told)
    plain = engine.generate(Batch("m", shape_of(card), (RED, BLUE)), lambda _: None, lambda _: False)
    for one, other in zip(seen, plain, strict=True):
        assert isinstance(one, Made)
        assert isinstance(other, Made)
        assert np.array_equal(one.pixels, other.pixels)
    again.unload()


def test_the_revision_names_the_weights(card: ModelCard, engine: Engine) -> None:
    again = make_engine(card.engine)
    again.load(card)
    assert again.weights_revision == engine.weights_revision != ""
    again.unload()


def test_every_engine_is_tested(cards: dict[str, ModelCard]) -> None:
    assert {one.engine for one in cards.values()} == set(ENGINES)


def test_missed_is_not_made() -> None:
    assert not issubclass(Missed, Made)
